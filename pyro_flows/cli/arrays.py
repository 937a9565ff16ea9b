"""Arrays in files, as tables whose columns have numbers for names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_array"]

Array = np.ndarray[Any, Any]


def read_array(file: Path, key: str | None) -> pd.DataFrame:
    """Read a .npy file, or the array of that name in an .npz file."""
    import pandas as pd

    array = _read_npy(file) if file.suffix.lower() == ".npy" else _read_npz(file, key)
    if array.ndim != 2:
        raise InputError(f"{file}: expected rows and columns; got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{file}: expected numbers; got an array of {array.dtype}")
    native = array.astype(array.dtype.newbyteorder("="))
    return pd.DataFrame(native, columns=[str(i) for i in range(array.shape[1])])


def _read_npy(file: Path) -> Array:
    try:
        array: Array = np.load(file, allow_pickle=False)
        return array
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: not a readable array: {str(error).splitlines()[0]}") from error


def _read_npz(file: Path, key: str | None) -> Array:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays.files)
            if key is None and len(names) != 1:
                raise InputError(f"{file}: holds {', '.join(names) or 'nothing'}: choose one with --key")
            chosen = key or names[0]
            if chosen not in names:
                raise InputError(f"{file}: holds no {chosen}, only {', '.join(names)}")
            array: Array = arrays[chosen]
            return array
    except InputError:
        raise
    except Exception as error:  # numpy lets zipfile's and pickle's errors through
        raise InputError(f"{file}: not a readable archive of arrays") from error
