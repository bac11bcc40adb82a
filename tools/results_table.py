"""Print one table of several methods: python tools/results_table.py --help"""

import sys

from interpretability.commands.main import results_table

if __name__ == "__main__":
    sys.exit(results_table())
