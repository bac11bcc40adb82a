"""Explain one sound: python tools/interpret.py --help"""

import sys

from interpretability.commands.main import interpret

if __name__ == "__main__":
    sys.exit(interpret())
