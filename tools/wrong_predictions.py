"""Explain what a classifier gets wrong: python tools/wrong_predictions.py --help"""

import sys

from interpretability.commands.main import wrong_predictions

if __name__ == "__main__":
    sys.exit(wrong_predictions())
