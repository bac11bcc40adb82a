"""Train any interpreter.

Inside this folder: python train_interpreter.py hparams/piq.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("interpreter", __file__))
