"""Tables in files, as the command line reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .arrays import read_array
from .choice import Choice
from .errors import InputError
from .text import Known, read_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDINGS", "ROWS_AT_ONCE", "TEXT", "Table", "ending_of"]

TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ENDINGS = (*TEXT, ".parquet", ".npy", ".npz")
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Table:
    """A table in a file.

    Args:
        path: a .csv, .tsv, .csv.gz, .tsv.gz, .parquet, .npy or .npz file. Text is cut at tabs, semicolons,
            commas or bars, whichever cut all lines into as many cells.
        choice: of columns.
        known: of the cells of a text file.
        key: which array of an .npz file.
        rows: how many rows to read at most; None for all.
        commas: the columns that are found to have decimal commas, when the rows have been read.
    """

    path: str
    choice: Choice = field(default_factory=Choice)
    known: Known = field(default_factory=Known)
    key: str | None = None
    rows: int | None = None
    commas: set[str] = field(default_factory=set)

    def read(self) -> pd.DataFrame:
        """Return all rows at once."""
        import pandas as pd

        parts = list(self.parts())
        return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

    def parts(self, at_once: int | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows, so many at a time of a file of text.

        Raises:
            InputError: with one line that says what is wrong.
        """
        file = Path(self.path)
        if not file.is_file():
            raise InputError(f"{self.path}: {'is a folder' if file.is_dir() else 'no such file'}")
        ending = ending_of(file)
        if ending not in ENDINGS:
            raise InputError(f"{self.path}: expected a file that ends in {', '.join(ENDINGS)}")
        if self.key is not None and ending != ".npz":
            raise InputError(f"{self.path}: --key is for .npz files")
        if self.known.header is not None and ending not in TEXT:
            raise InputError(f"{self.path}: --header and --no-header are for {', '.join(TEXT)} files")
        if ending in TEXT:
            frames = read_text(
                file, self.choice, self.known, rows=self.rows, at_once=at_once, commas=self.commas
            )
        else:
            frames = self._whole(_read_parquet(file) if ending == ".parquet" else read_array(file, self.key))
        empty = True
        for frame in frames:
            if len(frame):
                empty = False
                yield frame
        if empty:
            raise InputError(f"{self.path}: no rows")

    def _whole(self, frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
        chosen = self.choice.of([str(name) for name in frame.columns], self.path)
        yield frame[: self.rows].iloc[:, list(chosen)].set_axis(list(chosen.values()), axis=1)


def ending_of(file: Path) -> str:
    """Return the ending of a file's name, .csv.gz for one."""
    suffixes = [s.lower() for s in file.suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except ImportError as error:
        raise InputError(f"{file}: parquet files need pyarrow: pip install pyarrow") from error
    except Exception as error:  # pyarrow has errors of its own
        raise InputError(f"{file}: not a readable table: {str(error).splitlines()[0]}") from error
