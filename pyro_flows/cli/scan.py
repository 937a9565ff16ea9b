"""What is to be known of all rows of a text table before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from .cells import MISSING
from .errors import InputError
from .layout import Layout
from .lines import tell

__all__ = ["Digits", "scan"]

AT_ONCE = 4096
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")


@dataclass
class Digits:
    """How a column's numbers are written: what pandas' numbers do not tell any more.

    Args:
        whole: whether all its cells are digits, beside signs and gaps; if so, the next three are told.
        gaps: whether cells are missing.
        padded: a cell such as 01234, whose zero a number would lose.
        largest: the largest number of more than 15 digits.
        points: whether all its cells are such as 1.234 or 999; if so, the next is told.
        grouped: a cell such as 1.234: thousands, if points separate these.
    """

    whole: bool = True
    gaps: bool = False
    padded: str | None = None
    largest: int = 0
    points: bool = True
    grouped: str | None = None

    def see(self, cells: Sequence[str]) -> None:
        """Take some more cells into account."""
        kept = [cell for cell in cells if cell not in MISSING]
        self.gaps = self.gaps or len(kept) < len(cells)
        self.whole = self.whole and all(cell.lstrip("+-").isdecimal() for cell in kept)
        if self.whole:
            self.padded = self.padded or next((c for c in kept if c[0] == "0" and len(c) > 1), None)
            self.largest = max([self.largest, *(int(cell) for cell in kept if 15 < len(cell) < 30)])
        self.points = self.points and all(
            (cell.isdecimal() and len(cell) < 4) or THOUSANDS.fullmatch(cell) for cell in kept
        )
        if self.points:
            self.grouped = self.grouped or next((cell for cell in kept if "." in cell), None)


def scan(layout: Layout, places: Iterable[int], rows: int | None) -> dict[int, Digits]:
    """Return how the numbers of the columns at these places are written, in so many rows at most.

    Raises:
        InputError: if a row has more or fewer cells than the first line; pandas would fill it up.
    """
    digits = {place: Digits() for place in places}
    checked = islice(_rows(layout), rows)
    while block := list(islice(checked, AT_ONCE)):
        for place, column in digits.items():
            if column.whole or column.points:
                column.see([row[place] for row in block])
    return digits


def _rows(layout: Layout) -> Iterator[list[str]]:
    """Yield the rows, and tell of blank lines between them, which are rows only if there is one column."""
    width, count, blank = len(layout.names), 0, 0
    lines = 0
    with layout.opened() as stream:
        for cells in layout.records(stream):
            if len(cells) < 2 and not "".join(cells).strip():
                if width > 1:
                    lines += 1
                    continue
                cells = [""]
            count, blank = count + 1, lines
            if len(cells) != width:
                raise InputError(
                    f"{layout.file}: row {count} has {len(cells)} cells, and the first line {width}"
                )
            yield cells
    if blank:
        tell(f"{layout.file}: {blank} blank line{'s are' if blank > 1 else ' is'} left out")
