"""Train L2I.

Inside this folder: python train_l2i.py hparams/l2i.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("interpreter", __file__))
