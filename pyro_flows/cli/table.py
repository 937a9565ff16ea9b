"""Tables of numbers in CSV, NPY and NPZ files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

__all__ = ["Table", "read", "write"]


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
        raise InputError(f"{path}: no such file")
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
        bad = int((~kept).sum())
        raise InputError(
            f"{path}: {bad} rows hold an empty cell, a NaN or an infinity, the first is row {row + 1}"
        )
    return table


def _read_csv(file: Path) -> Table:
    import pandas as pd

    try:
        frame = pd.read_csv(file, skipinitialspace=True)
        if frame.columns.size and all(_is_number(str(name)) for name in frame.columns):
            frame = pd.read_csv(file, header=None, skipinitialspace=True)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{file}: the file is empty") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
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
    indices = range(len(table.columns))
    if columns is not None:
        indices = [_index(name, table.columns, path) for name in columns]  # type: ignore[assignment]
        if len(set(indices)) < len(columns):
            raise InputError(f"{path}: a column is chosen twice")
    values = np.empty((len(table.values), len(indices)), dtype=np.float64)
    for place, index in enumerate(indices):
        try:
            values[:, place] = table.values[:, index].astype(np.float64)
        except (TypeError, ValueError) as error:
            name = table.columns[index]
            raise InputError(f"{path}: column {name} holds text; choose others with --columns") from error
    if not len(values):
        raise InputError(f"{path}: no rows")
    return Table(values, [table.columns[i] for i in indices])


def _index(name: str, columns: list[str], path: str) -> int:
    if name in columns:
        return columns.index(name)
    if name.isdigit() and int(name) < len(columns):
        return int(name)
    raise InputError(f"{path}: no column {name}; there are {', '.join(columns[:20])}")


def write(path: str, values: np.ndarray[Any, Any], columns: list[str]) -> None:
    """Write a table as .csv or .npy."""
    file = Path(path)
    if file.suffix.lower() not in (".csv", ".npy"):
        raise InputError(f"{path}: expected a name that ends in .csv or .npy")
    try:
        if file.suffix.lower() == ".npy":
            np.save(file, values)
        else:
            np.savetxt(file, values, delimiter=",", header=",".join(columns), comments="", fmt="%.9g")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
