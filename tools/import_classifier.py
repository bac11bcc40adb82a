"""Save any model as a classifier's folder: python tools/import_classifier.py --help"""

import sys

from interpretability.commands.main import import_classifier

if __name__ == "__main__":
    sys.exit(import_classifier())
