"""Whether the first line of a text table is a header."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .cells import look_of

__all__ = ["has_header"]

RISING = 6  # so many numbers are in order by chance in one row of 720


def has_header(first: Sequence[str], rows: Sequence[Sequence[str]], *, quoted: bool) -> tuple[bool, bool]:
    """Return whether the first line holds names, and whether that is sure.

    Names are texts that are not met again below, or whole numbers or dates that cannot be a row of the table
    (years over columns of reals, ``0,1,2``), or numbers in order of size over rows that are not.

    Args:
        first: the cells of the first line.
        rows: those of the next lines.
        quoted: whether the first line's cells are all in quotes, and those of the next lines not.
    """
    looks = [look_of(cell) for cell in first]
    below = list(zip(*rows, strict=True)) or [()] * len(first)
    texts = [j for j, look in enumerate(looks) if look == "text"]
    numbers = [j for j, look in enumerate(looks) if look in ("whole", "real", "date")]
    again = [j for j in texts if first[j] in below[j]]
    titles = not numbers and any((kinds := _looks(below[j])) and "text" not in kinds for j in texts)
    if 2 * len(again) > len(texts) and not titles:
        return False, False
    if not numbers:
        return bool(texts), not again
    if quoted:
        return True, True
    if not rows:
        return False, False
    cells = [first[j] for j in numbers]
    if any(looks[j] == "real" for j in numbers):
        rises = _rises(cells, [[row[j] for j in numbers] for row in rows])
        return rises, not (texts or rises)
    if len(set(cells)) < len(cells) or any(cell.startswith("-") for cell in cells):
        return False, False
    strange = [j for j in numbers if looks[j] not in (kinds := _looks(below[j])) and kinds]
    unnamed_index = looks[0] == "missing" and "missing" not in map(look_of, below[0])
    return (
        2 * len(strange) > len(numbers)
        or (unnamed_index and numbers == list(range(1, len(first))))
        or _counts(cells, [[row[j] for j in numbers] for row in rows], named=bool(texts))
        or _rises(cells, [[row[j] for j in numbers] for row in rows])
    ), False


def _looks(cells: Sequence[str]) -> set[str]:
    return {look_of(cell) for cell in cells} - {"missing"}


def _counts(cells: Sequence[str], rows: Sequence[Sequence[str]], *, named: bool) -> bool:
    """Whether cells are 0, 1, 2, … or consecutive years, say, and rows are no such things."""
    if not all(cell.isdigit() for cell in cells):
        return False
    values = [int(cell) for cell in cells]
    if any(b - a != 1 for a, b in pairwise(values)) or _in_order(rows):
        return False
    flags = {cell for row in rows for cell in row} <= {"0", "1"}
    return len(cells) > 2 or named or (values[0] == 0 and not flags)


def _rises(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether many cells are in order of size, as wavelengths are, and rows are not."""
    return len(cells) >= RISING and _is_rising(cells) and not _in_order(rows)


def _in_order(rows: Sequence[Sequence[str]]) -> bool:
    """Whether half the rows are in order of size."""
    return len(rows[0]) > 1 and 2 * sum(map(_is_rising, rows)) >= len(rows)


def _is_rising(cells: Sequence[str]) -> bool:
    try:
        values = [float(cell.replace(",", ".")) for cell in cells]
    except ValueError:  # a gap, or a date
        return False
    return all(a < b for a, b in pairwise(values))
