"""Tables in files: what the command line reads and writes."""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDINGS", "OUTPUTS", "ROWS_AT_ONCE", "check_output", "read", "read_in_parts", "write"]

TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ENDINGS = (*TEXT, ".parquet", ".npy", ".npz")
OUTPUTS = (*TEXT, ".parquet", ".npy")
ROWS_AT_ONCE = 65_536


def read(path: str, **options: Any) -> pd.DataFrame:
    """Read a whole table; see `read_in_parts`."""
    import pandas as pd

    parts = list(read_in_parts(path, **options))
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def read_in_parts(
    path: str,
    *,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    rows: int | None = None,
    texts: Iterable[str] = (),
    at_once: int | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table, the chosen columns only, some at a time.

    Args:
        path: a .csv, .tsv, .csv.gz, .tsv.gz, .parquet, .npy or .npz file. Text is cut at tabs, semicolons
            or commas, whichever the first line has most of, and has a header unless that is all numbers.
        key: which array of an .npz file.
        columns: names, or numbers counted from 0; None for all.
        drop: names or numbers of columns to leave out.
        rows: how many rows to read at most; None for all.
        texts: columns whose cells are texts even if they look like numbers.
        at_once: how many rows to read at a time from a file of text; None for all.

    Raises:
        InputError: with one line that says what is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: {'is a folder' if file.is_dir() else 'no such file'}")
    ending = _ending(file)
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
    if key is not None and ending != ".npz":
        raise InputError(f"{path}: --key is for .npz files")
    if ending in TEXT:
        frames = _read_text(file, rows, set(texts), at_once)
    elif ending == ".parquet":
        frames = iter([_read_parquet(file)])
    else:
        frames = iter([_of_array(_read_npy(file) if ending == ".npy" else _read_npz(file, key), file)])
    empty = True
    for frame in frames:
        if rows is not None and ending not in TEXT:
            frame = frame[:rows]
        if len(frame):
            empty = False
            yield _selected(frame, columns, drop, path)
    if empty:
        raise InputError(f"{path}: no rows")


def _ending(file: Path) -> str:
    suffixes = [s.lower() for s in file.suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _read_text(file: Path, rows: int | None, texts: set[str], at_once: int | None) -> Iterator[pd.DataFrame]:
    import pandas as pd

    options: dict[str, Any] = {"skipinitialspace": True, "low_memory": False}
    try:
        with (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rt", encoding="utf-8") as stream:
            options["sep"] = max("\t;,", key=stream.readline().count)
        first = pd.read_csv(
            file, header=None, nrows=1000, dtype=str, names=None, on_bad_lines="skip", **options
        )
        named = not all(_is_number(str(name)) for name in first.iloc[0])
        if options["sep"] == ";" and _has_decimal_commas(first):
            options["decimal"] = ","
        if named:
            options["dtype"] = {name: str for name in first.iloc[0].astype(str) if name in texts}
        options |= {"header": 0 if named else None, "index_col": False, "nrows": rows}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            if at_once is None:
                yield pd.read_csv(file, **options)
                return
            with pd.read_csv(file, chunksize=at_once, **options) as parts:
                yield from parts
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{file}: the file is empty") from error
    except (ValueError, OSError, EOFError, pd.errors.ParserWarning) as error:  # ParserError is a ValueError
        raise InputError(f"{file}: not a readable table: {str(error).splitlines()[0]}") from error


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _has_decimal_commas(cells: pd.DataFrame) -> bool:
    found = [str(cell) for cell in cells.to_numpy().ravel()]
    commas = any(re.fullmatch(r"-?\d+,\d+", cell) for cell in found)
    return commas and not any(re.fullmatch(r"-?\d+\.\d+", cell) for cell in found)


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except ImportError as error:
        raise InputError(f"{file}: parquet files need pyarrow: pip install pyarrow") from error
    except Exception as error:  # pyarrow has errors of its own
        raise InputError(f"{file}: not a readable table: {str(error).splitlines()[0]}") from error


def _read_npy(file: Path) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
        return array
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: not a readable array: {str(error).splitlines()[0]}") from error


def _read_npz(file: Path, key: str | None) -> np.ndarray[Any, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays.files)
            if key is None and len(names) != 1:
                raise InputError(f"{file}: holds {', '.join(names) or 'nothing'}: choose one with --key")
            chosen = key or names[0]
            if chosen not in names:
                raise InputError(f"{file}: holds no {chosen}, only {', '.join(names)}")
            array: np.ndarray[Any, Any] = arrays[chosen]
            return array
    except InputError:
        raise
    except Exception as error:  # numpy lets zipfile's and pickle's errors through
        raise InputError(f"{file}: not a readable archive of arrays") from error


def _of_array(array: np.ndarray[Any, Any], file: Path) -> pd.DataFrame:
    import pandas as pd

    if array.ndim != 2:
        raise InputError(f"{file}: expected rows and columns; got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{file}: expected numbers; got an array of {array.dtype}")
    native = array.astype(array.dtype.newbyteorder("="))
    return pd.DataFrame(native, columns=[str(i) for i in range(array.shape[1])])


def _selected(
    frame: pd.DataFrame, columns: Sequence[str] | None, drop: Sequence[str], path: str
) -> pd.DataFrame:
    frame.columns = [str(name) for name in frame.columns]
    names = list(frame.columns)
    places = list(range(len(names))) if columns is None else [_place(name, names, path) for name in columns]
    if len(set(places)) < len(places):
        raise InputError(f"{path}: a column is chosen twice")
    left_out = {_place(name, names, path) for name in drop}
    places = [place for place in places if place not in left_out]
    if not places:
        raise InputError(f"{path}: no columns are left")
    return frame.iloc[:, places]


def _place(name: str, names: list[str], path: str) -> int:
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise InputError(f"{path}: no column {name}; there are {', '.join(names[:20])}")


def check_output(path: str, *endings: str, inputs: Sequence[str] = ()) -> None:
    """Refuse a name that cannot be written to, or is that of an input, before any work is done."""
    file = Path(path)
    if endings and _ending(file) not in endings:
        raise InputError(f"{path}: expected a name that ends in {', '.join(endings[:-1])} or {endings[-1]}")
    if not file.parent.is_dir():
        raise InputError(f"{path}: no such folder: {file.parent}")
    if file.is_dir():
        raise InputError(f"{path}: is a folder")
    for given in inputs:  # one file can have several names
        if file.exists() and Path(given).exists() and file.samefile(given):
            raise InputError(f"{path}: is read from: choose another name for --out")


def write(path: str, frames: Iterator[pd.DataFrame]) -> None:
    """Write a table part by part, in the format that the name's ending tells."""
    import pandas as pd

    ending = _ending(Path(path))
    try:
        if ending in TEXT:
            options: dict[str, Any] = {"sep": "\t" if ending.startswith(".tsv") else ",", "index": False}
            for i, frame in enumerate(frames):
                # A later part of a compressed file is a stream of its own, which readers join.
                frame.to_csv(path, mode="a" if i else "w", header=not i, float_format="%.12g", **options)
            return
        frame = pd.concat(list(frames), ignore_index=True)
        if ending == ".parquet":
            frame.to_parquet(path, index=False)
            return
        odd = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
        if odd:
            raise InputError(f"{path}: column {odd[0]} holds no numbers: choose another format than .npy")
        with open(path, "wb") as file:
            np.save(file, frame.to_numpy(dtype=np.float64, na_value=np.nan))
    except ImportError as error:
        raise InputError(f"{path}: parquet files need pyarrow: pip install pyarrow") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
