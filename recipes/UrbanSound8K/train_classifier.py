"""Train a classifier.

Inside this folder: python train_classifier.py hparams/classifier_compact.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("classifier", __file__))
