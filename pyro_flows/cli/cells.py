"""What is written in a cell of a text table."""

from __future__ import annotations

import re

__all__ = ["MISSING", "look_of"]

# What stands for a missing cell, as in pandas.
MISSING = frozenset(
    (
        "",
        *("#N/A", "#N/A N/A", "#NA", "N/A", "n/a", "NA", "<NA>", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    )
)

WHOLE = re.compile(r"[+-]?\d+")
REAL = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?")


def look_of(cell: str) -> str:
    """Return whether a cell looks "missing", "whole", "real", a "date" or "text"."""
    cell = cell.strip()
    if cell in MISSING:
        return "missing"
    for look, pattern in (("whole", WHOLE), ("real", REAL), ("date", DATE)):
        if pattern.fullmatch(cell):
            return look
    return "text"
