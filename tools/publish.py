"""Publish a model on a hub: python tools/publish.py --help"""

import sys

from interpretability.commands.main import publish

if __name__ == "__main__":
    sys.exit(publish())
