"""`python -m qvsearch`."""

import sys

from qvsearch.cli import main

if __name__ == "__main__":
    sys.exit(main())
