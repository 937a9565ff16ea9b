"""Numbers and dates in a column of texts, which would be taken for categories."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

__all__ = ["check_no_disguise", "is_plain_number"]

CODE = re.compile(r"[-+]?\d+")
PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
SIZE = r"(\d{1,3}([,.'’ \u00a0\u202f]\d{3})+([.,]\d+)?|\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?"  # 1,000.50; 1,5
NUMBER = re.compile(rf"[-+(]?[$€£]?\s?[-+]?{SIZE}\s?[%$€£]?\)?")
DAY = re.compile(
    r"(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3(\d{4}|\d\d))([ T].*)?"
)  # 12/31/2024, 31.12.24


def is_plain_number(cell: Any) -> bool:
    """Whether a cell is a number, or a text that Python reads as one."""
    if isinstance(cell, str):
        return PLAIN.fullmatch(cell.strip()) is not None
    return not isinstance(cell, bool)


def check_no_disguise(column: str, cells: list[Any]) -> None:
    """Refuse a column in which most cells are numbers or dates, but not all, or not in plain writing.

    Whole numbers that are all written as texts pass: they may be codes.

    Raises:
        ValueError: with a cell that spoils the others, as "#DIV/0!" does among numbers.
    """
    counts = Counter(cells)
    if all(isinstance(cell, str) and CODE.fullmatch(cell) for cell in counts):
        return
    _check(column, counts, "numbers", _looks_like_number, is_plain_number)
    _check(column, counts, "dates such as 2024-12-31", _looks_like_day, _is_plain_day)


def _check(
    column: str,
    counts: Counter[Any],
    what: str,
    looks: Callable[[Any], bool],
    is_plain: Callable[[Any], bool],
) -> None:
    alike, total = sum(count for cell, count in counts.items() if looks(cell)), counts.total()
    if 2 * alike <= total:
        return
    odd = [c for c in counts if not looks(c)] + [c for c in counts if not is_plain(c)] + list(counts)
    raise ValueError(
        f"column {column}: expected {what}, as {alike} of {total} cells look like; got {odd[0]!r}: mend such "
        "cells, leave them empty, or set the column's kind to categorical"
    )


def _looks_like_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return NUMBER.fullmatch(cell.strip()) is not None
    return is_plain_number(cell)


def _looks_like_day(cell: Any) -> bool:
    return isinstance(cell, str) and DAY.fullmatch(cell.strip()) is not None


def _is_plain_day(cell: str) -> bool:
    try:
        datetime.date.fromisoformat(cell[:10])
    except ValueError:
        return False
    return True
