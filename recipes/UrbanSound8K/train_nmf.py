"""Learn a dictionary of spectra: what L2I needs, and what explains by itself (evaluate.py).

Inside this folder: python train_nmf.py hparams/nmf.yaml --data_folder /path/to/data
"""

import sys

from interpretability.training.runner import main

if __name__ == "__main__":
    sys.exit(main("dictionary", __file__))
