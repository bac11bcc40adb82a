"""Look at a data set before training: python tools/inspect_data.py --help"""

import sys

from interpretability.commands.main import inspect_data

if __name__ == "__main__":
    sys.exit(inspect_data())
