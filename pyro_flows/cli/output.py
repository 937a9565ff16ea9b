"""What the command line writes."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .cells import look_of
from .errors import InputError
from .table import TEXT, ending_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OUTPUTS", "check_output", "write"]

OUTPUTS = (*TEXT, ".parquet", ".npy")
WIDE = {"float16": "float64", "float32": "float64", "Float32": "Float64"}  # 0.1 is another number in each
WHOLE = 2**53  # doubles hold all whole numbers up to here


def check_output(path: str, *endings: str, inputs: Sequence[str] = ()) -> None:
    """Refuse a name that cannot be written to, or is that of an input, before any work is done."""
    file = Path(path)
    if endings and ending_of(file) not in endings:
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

    try:
        if ending_of(Path(path)) in TEXT:
            _write_text(Path(path), frames)
            return
        frame = pd.concat(list(frames), ignore_index=True)
        if ending_of(Path(path)) == ".parquet":
            frame.to_parquet(path, index=False)
        else:
            _write_array(path, frame)
    except ImportError as error:
        raise InputError(f"{path}: parquet files need pyarrow: pip install pyarrow") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _write_text(file: Path, frames: Iterator[pd.DataFrame]) -> None:
    """Write numbers with all their digits, so that they are read as what they were."""
    frame = next(frames)  # before the file is opened: an error leaves what is there
    separator = "\t" if ending_of(file).startswith(".tsv") else ","
    with (gzip.open if file.suffix.lower() == ".gz" else open)(
        file, "wt", encoding="utf-8", newline=""
    ) as stream:
        names = [str(name) for name in frame.columns]
        # Quotes tell names such as 0, 1, 2 from a row.
        texts = all(look_of(name) == "text" for name in names)
        header = csv.writer(
            stream,
            delimiter=separator,
            lineterminator="\n",
            quoting=csv.QUOTE_MINIMAL if texts else csv.QUOTE_ALL,
        )
        header.writerow(names)
        for part in chain([frame], frames):
            narrow = {name: WIDE[str(part[name].dtype)] for name in part if str(part[name].dtype) in WIDE}
            part.astype(narrow).to_csv(stream, sep=separator, index=False, header=False, lineterminator="\n")


def _write_array(path: str, frame: pd.DataFrame) -> None:
    import pandas as pd

    for name in frame:
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            raise InputError(f"{path}: column {name} holds no numbers: choose another format than .npy")
        whole = pd.api.types.is_integer_dtype(frame[name].dtype)
        if whole and not frame[name].dropna().between(-WHOLE, WHOLE).all():
            raise InputError(
                f"{path}: column {name} holds whole numbers beyond 2⁵³, too many digits for doubles: "
                "choose another format than .npy"
            )
    with open(path, "wb") as file:
        np.save(file, frame.to_numpy(dtype=np.float64, na_value=np.nan))
