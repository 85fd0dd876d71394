"""``python -m numba_lrn``: the command line."""

import sys

from numba_lrn.cli import main

if __name__ == "__main__":
    sys.exit(main())
