"""What the command line tells its user beside the results, line by line."""

from __future__ import annotations

import os
import sys

__all__ = ["is_first", "tell"]


def is_first() -> bool:
    """Whether this process is the one that speaks and writes, of several that fit one flow."""
    return os.environ.get("RANK", "0") == "0"


def tell(line: str) -> None:
    """Print a line on what was assumed or left out."""
    if is_first():
        print(f"pyro-flows: {line}", file=sys.stderr)
