"""Save a published SpeechBrain checkpoint as a folder: python tools/import_published.py --help"""

import sys

from interpretability.commands.main import import_published

if __name__ == "__main__":
    sys.exit(import_published())
