"""Tables of numbers in CSV, NPY and NPZ files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

__all__ = ["Table", "check_output", "read", "write"]


@dataclass
class Table:
    """Named columns of finite numbers, of shape (rows, columns)."""

    values: np.ndarray[Any, Any]
    columns: list[str]


def read(path: str, *, key: str | None = None, columns: list[str] | None = None) -> Table:
    """Read a table, the chosen columns only, and refuse everything that is no number.

    Args:
        path: a .csv, .npy or .npz file.
        key: which array of an .npz file.
        columns: names, or numbers counted from 0; None for all.

    Raises:
        InputError: with one line that says what is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: {'is a folder' if file.is_dir() else 'no such file'}")
    readers = {".csv": _read_csv, ".npy": _read_npy, ".npz": lambda f: _read_npz(f, key)}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: expected a .csv, .npy or .npz file")
    if key is not None and file.suffix.lower() != ".npz":
        raise InputError(f"{path}: --key is for .npz files")
    table = _select(reader(file), columns, path)
    kept = np.isfinite(table.values).all(axis=1)
    if not kept.all():
        row = int(np.flatnonzero(~kept)[0])
        others = int((~kept).sum()) - 1
        more = f", as do {others} more" if others else ""
        raise InputError(f"{path}: row {row + 1} holds an empty cell, a NaN or an infinity{more}")
    return table


def _read_csv(file: Path) -> Table:
    import pandas as pd

    options: dict[str, Any] = {"skipinitialspace": True, "low_memory": False}
    try:
        first = pd.read_csv(file, header=None, nrows=1, dtype=str, **options).iloc[0]
        named = not all(_is_number(str(name)) for name in first)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(file, header=0 if named else None, index_col=False, **options)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{file}: the file is empty") from error
    except (ValueError, OSError, pd.errors.ParserWarning) as error:  # ParserError is a ValueError
        raise InputError(f"{file}: not a readable table: {str(error).splitlines()[0]}") from error
    return Table(frame.to_numpy(dtype=object), [str(name) for name in frame.columns])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npy(file: Path) -> Table:
    try:
        return _of_array(np.load(file, allow_pickle=False), file)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: not a readable array: {str(error).splitlines()[0]}") from error


def _read_npz(file: Path, key: str | None) -> Table:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays.files)
            if key is None and len(names) != 1:
                raise InputError(f"{file}: holds {', '.join(names) or 'nothing'}: choose one with --key")
            chosen = key or names[0]
            if chosen not in names:
                raise InputError(f"{file}: holds no {chosen}, only {', '.join(names)}")
            return _of_array(arrays[chosen], file)
    except InputError:
        raise
    except Exception as error:  # numpy lets zipfile's and pickle's errors through
        raise InputError(f"{file}: not a readable archive of arrays") from error


def _of_array(array: np.ndarray[Any, Any], file: Path) -> Table:
    if array.ndim != 2:
        raise InputError(f"{file}: expected rows and columns; got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{file}: expected numbers; got an array of {array.dtype}")
    return Table(array, [str(i) for i in range(array.shape[1])])


def _select(table: Table, columns: list[str] | None, path: str) -> Table:
    indices: Sequence[int] = range(len(table.columns))
    if columns is not None:
        indices = [_index(name, table.columns, path) for name in columns]
        if len(set(indices)) < len(columns):
            raise InputError(f"{path}: a column is chosen twice")
    values = np.empty((len(table.values), len(indices)), dtype=np.float64)
    for place, index in enumerate(indices):
        try:
            values[:, place] = table.values[:, index].astype(np.float64)
        except (TypeError, ValueError) as error:
            name = table.columns[index]
            raise InputError(
                f"{path}: column {name} holds text; choose others with --columns, and commas between cells"
            ) from error
    if not len(values):
        raise InputError(f"{path}: no rows")
    return Table(values, [table.columns[i] for i in indices])


def _index(name: str, columns: list[str], path: str) -> int:
    if name in columns:
        return columns.index(name)
    if name.isdigit() and int(name) < len(columns):
        return int(name)
    raise InputError(f"{path}: no column {name}; there are {', '.join(columns[:20])}")


def check_output(path: str, *endings: str) -> None:
    """Refuse a name that cannot be written to, before any work is done."""
    file = Path(path)
    if endings and file.suffix.lower() not in endings:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(endings)}")
    if not file.parent.is_dir():
        raise InputError(f"{path}: no such folder: {file.parent}")
    if file.is_dir():
        raise InputError(f"{path}: is a folder")


def write(path: str, values: np.ndarray[Any, Any], columns: list[str]) -> None:
    """Write a table as .csv or .npy."""
    try:
        if Path(path).suffix.lower() == ".npy":
            with open(path, "wb") as file:
                np.save(file, values)
        else:
            header = ",".join(f'"{name}"' if "," in name else name for name in columns)
            np.savetxt(path, values, delimiter=",", header=header, comments="", fmt="%.9g", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
