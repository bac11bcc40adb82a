"""Evaluate a finished run on the test split.

Inside this folder: python evaluate.py hparams/piq.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("evaluate", __file__))
