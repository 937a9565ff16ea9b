"""How a text table is laid out: what separates its cells, and where its rows begin."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile, islice
from pathlib import Path
from typing import TextIO

from .cells import look_of
from .errors import InputError
from .header import has_header
from .lines import tell

__all__ = ["Layout"]

SEPARATORS = "\t;,|"
LINES = 100  # looked at


@dataclass(frozen=True)
class Layout:
    """A text file, what separates its cells, how many lines come before the first, and its columns' names.

    Args:
        file: where it is.
        separator: a tab, semicolon, comma or bar.
        skipped: lines before the header or the first row.
        has_header: whether there is a header.
        names: of the columns, all different; their numbers if there is no header.
    """

    file: Path
    separator: str
    skipped: int
    has_header: bool
    names: list[str]

    @classmethod
    def of(cls, file: Path, header: bool | None, wanted: Sequence[str]) -> Layout:
        """Return the layout of a file, and tell if that there is a header, or none, is but a guess.

        Args:
            file: where it is.
            header: whether there is one, if that is known.
            wanted: names that a header would hold.

        Raises:
            InputError: if the file is empty, or begins with what is no table.
        """
        with _opened(file) as stream:
            lines = list(islice(stream, LINES))
        skipped, separator = _preamble(lines)
        lines = lines[skipped:]
        if not lines:
            raise InputError(f"{file}: the file is empty")
        body = list(dropwhile(_is_comment, lines)) or lines
        separator = separator or _separator(body)
        first, *rows = (row for row in _split(lines, separator) if row)
        if _is_comment(first[0]) and _is_table(list(_split(body, separator)), len(first)):
            raise InputError(f"{file}: line {skipped + 1} begins with #: remove comments before the table")
        if len(first) == 1 and _is_spaced(lines):
            raise InputError(f"{file}: cells are separated by spaces: expected tabs, semicolons, commas or |")
        if header is None:
            header = _guessed(file, first, rows, wanted, _is_quoted(lines, separator))
        return cls(file, separator, skipped, header, _names(first) if header else _numbers(first))

    @contextmanager
    def opened(self) -> Iterator[TextIO]:
        """Open the file at its first row."""
        with _opened(self.file) as stream:
            for _ in range(self.skipped):
                stream.readline()
            if self.has_header:
                next(_split(stream, self.separator))
            yield stream

    def records(self, stream: TextIO) -> Iterator[list[str]]:
        """Yield the cells of each row, none of a blank line."""
        return _split(stream, self.separator)


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    with (gzip.open if file.suffix.lower() == ".gz" else open)(
        file, "rt", encoding="utf-8-sig", newline=""
    ) as stream:
        yield stream


def _split(lines: TextIO | Sequence[str], separator: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _preamble(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return how many lines come before the table, and the separator if one is Excel's sep=;."""
    separator = None
    for count, line in enumerate(lines):
        told = re.fullmatch(r"sep=(.)", line.strip("\r\n"))
        if told:
            separator = told[1]
        elif line.strip():
            return count, separator
    return len(lines), separator


def _separator(lines: Sequence[str]) -> str:
    """Return what cuts all lines into as many cells, or else the first into most."""
    for separator in SEPARATORS:
        try:
            widths = {len(cells) for cells in _split(lines, separator) if cells}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return separator
    return max(SEPARATORS, key=lambda separator: len(next(_split(lines[:1], separator))))


def _is_comment(line: str) -> bool:
    return line.startswith("#")


def _is_table(rows: Sequence[list[str]], width: int) -> bool:
    """Whether lines are a table without the comments before, which have so many cells."""
    even = [row for row in rows if len(row) == len(rows[0])]
    named = any(look_of(cell) == "text" for cell in rows[0])
    return len(rows[0]) != width or (named and has_header(rows[0], even[1:], quoted=False)[0])


def _is_spaced(lines: Sequence[str]) -> bool:
    """Whether spaces cut all lines into as many cells, with a column of numbers among them."""
    cells = [line.split() for line in lines if line.strip()]
    if len({len(row) for row in cells}) > 1 or len(cells[0]) < 2:
        return False
    columns = zip(*cells[1:], strict=True)
    return any(all(look_of(cell) in ("whole", "real") for cell in column) for column in columns)


def _is_quoted(lines: Sequence[str], separator: str) -> bool:
    """Whether the cells of the first line are all in quotes, and those of the next lines not."""
    cell = r'"[^"\r\n]*"'
    line = re.compile(rf"{cell}({re.escape(separator)}{cell})*\s*")
    return bool(line.fullmatch(lines[0])) and not all(map(line.fullmatch, lines[1:]))


def _guessed(
    file: Path, first: Sequence[str], rows: Sequence[list[str]], wanted: Sequence[str], quoted: bool
) -> bool:
    if set(wanted) <= set(first) and any(look_of(name) == "text" for name in wanted):
        return True
    even = [row for row in rows if len(row) == len(first)]  # others are refused when they are read
    header, sure = has_header(first, even, quoted=quoted)
    if not sure:
        shown = ", ".join(first[:5]) + (", …" if len(first) > 5 else "")
        taken, other = ("the header", "--no-header") if header else ("a row", "--header")
        tell(f"{file}: the first line, {shown}, is taken for {taken}: {other} says otherwise")
    return header


def _numbers(cells: Sequence[str]) -> list[str]:
    return [str(j) for j in range(len(cells))]


def _names(cells: Sequence[str]) -> list[str]:
    """Return the names of a header, with others for those that are missing or met before, as pandas has."""
    names: dict[str, None] = {}
    for j, cell in enumerate(cells):
        name = given = cell or f"Unnamed: {j}"
        count = 0
        while name in names:
            count += 1
            name = f"{given}.{count}"
        names[name] = None
    return list(names)
