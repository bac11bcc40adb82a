"""Explain a vision transformer or a FocalNet by what it attends to, on the test split; nothing is trained.

Inside this folder: python interpret_amt.py hparams/amt_vit.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("evaluate", __file__))
