"""Numbers written with commas: 1,5 for 1.5."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import TYPE_CHECKING

from .cells import MISSING, look_of
from .errors import InputError
from .lines import tell

if TYPE_CHECKING:
    import pandas as pd

    from .layout import Layout

__all__ = ["with_points"]

DECIMAL = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")  # 1,234 is both, and may be 1234
OTHER_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+|[+-]?[1-9]\d{0,2}(\.\d{3}){2,}")


def with_points(frame: pd.DataFrame, layout: Layout, texts: Set[str], known: Set[str]) -> set[str]:
    """Turn texts such as 1,5 into numbers, column by column, and return the names of these columns.

    Args:
        frame: rows as pandas reads them, which is changed.
        layout: of their file.
        texts: columns whose cells are texts whatever they look like.
        known: columns that are known to have decimal commas.

    Raises:
        InputError: if commas may separate thousands, or most cells of such a column are numbers and some not.
    """
    import pandas as pd

    found: dict[str, str] = {}  # a cell of each column
    unsure: dict[str, str] = {}
    for name in frame.columns:
        column = frame[name]
        if name in texts or pd.api.types.is_numeric_dtype(column.dtype):
            continue
        cells = column.dropna()
        if not all(isinstance(cell, str) for cell in cells):
            continue
        try:
            shown, sure = _decimals(cells.value_counts())
        except ValueError as error:
            raise InputError(f"{layout.file}: column {name}: {error}") from None
        if shown is not None:
            (found if sure or name in known else unsure)[name] = shown
    if unsure and not (found or layout.separator == ";"):
        name, shown = next(iter(unsure.items()))
        raise InputError(
            f"{layout.file}: column {name}: {shown!r} can be {shown.replace(',', '')} or "
            f"{shown.replace(',', '.')}: write numbers with points, and nothing between thousands"
        )
    guessed = unsure if layout.separator != "," else {**found, **unsure}
    for name, shown in guessed.items():
        if name not in known:
            tell(
                f"{layout.file}: column {name}: {shown!r} is taken for {shown.replace(',', '.')}: "
                f"a fit with --categorical {name} keeps texts"
            )
    for name in (*found, *unsure):
        frame[name] = frame[name].astype(object).str.strip().str.replace(",", ".").astype(float)
    return {*found, *unsure}


def _decimals(counts: pd.Series) -> tuple[str | None, bool]:
    """Return a cell with a decimal comma if cells are numbers with such, and whether that is sure.

    Args:
        counts: how often there is each text.

    Raises:
        ValueError: if they can be nothing else than numbers, but cannot be read.
    """
    met: dict[str, str] = {}  # the first cell of each way of writing
    numbers = 0
    for cell, count in counts.items():
        way = _way(str(cell).strip())
        met.setdefault(way, str(cell))
        numbers += count if way != "text" else 0
    commas = [met[way] for way in ("decimal", "either") if way in met]
    total = int(counts.sum())
    if not (commas or "thousands" in met) or 2 * numbers < total:
        return None, False
    if "text" in met:
        raise ValueError(
            f"{numbers} of {total} cells are numbers, {met['text']!r} is not: leave such cells empty, or set "
            "the column's kind to categorical"
        )
    if "thousands" in met or (commas and "point" in met):
        odd = [met[way] for way in ("thousands", "either", "decimal", "point") if way in met]
        raise ValueError(
            f"expected numbers with one decimal sign, and nothing between thousands; got "
            f"{' and '.join(map(repr, odd[:2]))}"
        )
    return commas[0], "decimal" in met


def _way(cell: str) -> str:
    if DECIMAL.fullmatch(cell):
        return "either" if THOUSANDS.fullmatch(cell) else "decimal"
    if THOUSANDS.fullmatch(cell) or OTHER_THOUSANDS.fullmatch(cell):
        return "thousands"
    if cell not in MISSING and look_of(cell) in ("whole", "real"):
        return "point" if "." in cell else "whole"
    return "text"
