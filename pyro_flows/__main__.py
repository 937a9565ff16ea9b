"""Runs the command line: `python -m pyro_flows`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
