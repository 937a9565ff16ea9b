"""Tables in text files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cells import MISSING
from .choice import Choice
from .commas import with_points
from .errors import InputError
from .layout import Layout
from .lines import tell
from .scan import Digits, scan

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Known", "read_text"]


@dataclass(frozen=True)
class Known:
    """What is known of the cells of a text file before it is read.

    Args:
        header: whether there is a header, if that is known.
        texts: columns whose cells are texts even if they look like numbers.
        numbers: columns whose cells are numbers even if they begin with zeros, as texts do.
        commas: columns that have decimal commas, even if these could be signs between thousands.
    """

    header: bool | None = None
    texts: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    commas: frozenset[str] = frozenset()


def read_text(
    file: Path, choice: Choice, known: Known, *, rows: int | None, at_once: int | None, commas: set[str]
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a text file, the chosen columns only, some at a time.

    Args:
        file: a file of text, perhaps compressed.
        choice: of columns.
        known: of their cells.
        rows: how many rows to read at most; None for all.
        at_once: how many to read at a time; None for all.
        commas: the columns that are found to have decimal commas are added to it.

    Raises:
        InputError: with one line that says what is wrong.
    """
    import pandas as pd

    try:
        layout = Layout.of(file, known.header, choice.model)
        chosen = choice.of(layout.names, str(file))
        digits = scan(layout, chosen, rows)
        dtypes = {place: _dtype(name, digits[place], known, file) for place, name in chosen.items()}
        options: dict[str, Any] = {
            "sep": layout.separator,
            "header": None,
            "names": range(len(layout.names)),
            "usecols": list(chosen),
            "dtype": {place: dtype for place, dtype in dtypes.items() if dtype is not None},
            "index_col": False,
            "nrows": rows,
            "na_values": list(MISSING),
            "keep_default_na": False,
            "skipinitialspace": True,
            "skip_blank_lines": len(layout.names) > 1,
            "low_memory": False,
            **_exact(),
        }
        texts = known.texts | {name for place, name in chosen.items() if dtypes[place] is str}
        with layout.opened() as stream:
            whole = at_once is None
            for frame in (
                [pd.read_csv(stream, **options)]
                if whole
                else pd.read_csv(stream, chunksize=at_once, **options)
            ):
                frame = frame[list(chosen)].set_axis(list(chosen.values()), axis=1)
                found = with_points(frame, layout, texts, known.commas | commas)
                _check_points(file, found, {name: digits[place] for place, name in chosen.items()})
                commas |= found
                yield frame
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{file}: no rows") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: not a readable table: not in UTF-8: save it as such, as `iconv -f latin1 -t utf-8` does"
        ) from error
    except (ValueError, OSError, EOFError, csv.Error) as error:  # pandas' ParserError is a ValueError
        raise InputError(f"{file}: not a readable table: {str(error).splitlines()[0]}") from error


def _exact() -> dict[str, str]:
    """Return what makes pandas read doubles to the last bit; its later versions always do."""
    import pandas as pd

    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    return {} if version >= (3, 1) else {"float_precision": "round_trip"}


def _dtype(name: str, digits: Digits, known: Known, file: Path) -> Any:
    """Return the type that a column is to be read as, or None if pandas may find it."""
    if name in known.texts:
        return str
    if digits.whole and digits.padded and name not in known.numbers:
        tell(
            f"{file}: column {name}: {digits.padded!r} begins with 0: taken for texts: "
            f"a fit with --integer {name} makes numbers of them"
        )
        return str
    if digits.whole and digits.gaps and 2**53 < digits.largest < 2**63:
        return "Int64"  # pandas would round to doubles
    return None


def _check_points(file: Path, commas: set[str], digits: dict[str, Digits]) -> None:
    """Refuse numbers such as 1.234 beside others such as 1,5."""
    for name, column in digits.items():
        if commas and name not in commas and column.points and column.grouped:
            raise InputError(
                f"{file}: column {name}: {column.grouped!r} can be {column.grouped.replace('.', '')}, as "
                f"column {min(commas)} has decimal commas: write numbers alike, and nothing between thousands"
            )
