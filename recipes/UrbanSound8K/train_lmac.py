"""Train L-MAC; the same script fine-tunes it.

Inside this folder: python train_lmac.py hparams/lmac.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("interpreter", __file__))
