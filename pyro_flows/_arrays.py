"""Arrays, data frames and lists as tensors, in their own precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Columns", "as_tensor", "columns_of"]

Columns = tuple[Any, ...] | None  # a data frame's names


def columns_of(value: Any) -> Columns:
    """Return the names of a data frame's columns; None if it is something else, or names come twice."""
    if type(value).__module__.split(".")[0] != "pandas" or value.ndim != 2 or not value.columns.is_unique:
        return None
    return tuple(value.columns)


def as_tensor(value: Any, name: str, columns: Columns = None) -> Tensor:
    """Return `value` as a tensor that loses none of its digits.

    A tensor stays as it is. Numbers of NumPy come in any byte order; long doubles become doubles, and whole
    numbers that torch's arithmetic lacks become doubles too. Of a data frame, missing cells become NaN.

    Args:
        value: a tensor, an array, a data frame, a series or a list of numbers.
        name: what to call it in an error, such as "data".
        columns: the names that a data frame is to have, in whatever order; the tensor has this order. Frames
            of which either has the names 0, 1, 2, …, as pandas gives them, go by position.

    Raises:
        TypeError: if it holds something other than real numbers, or is sparse.
        ValueError: if it is a masked array with masked cells, or a data frame with other names.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"expected {name} as a dense tensor; got a sparse one: give {name}.to_dense()")
        if value.is_complex():
            raise TypeError(f"expected {name} of real numbers; got {value.dtype}")
        return value.detach()
    module = type(value).__module__.split(".")[0]
    if module == "scipy" and hasattr(value, "toarray"):
        kind = type(value).__name__
        raise TypeError(f"expected {name} as a dense array; got a sparse {kind}: give {name}.toarray()")
    if module == "pandas":
        if columns is not None and value.ndim == 2 and tuple(value.columns) != columns:
            value = _in_order(value, name, columns)
        return torch.from_numpy(_of_pandas(value, name))
    if isinstance(value, np.ma.MaskedArray):
        value = _unmasked(value, name)
    if isinstance(value, list | tuple) and value and all(isinstance(row, Tensor) for row in value):
        return torch.stack([row.detach() for row in value])
    return torch.from_numpy(_numbers(np.asarray(value), name, type(value).__name__))


def _in_order(frame: Any, name: str, columns: tuple[Any, ...]) -> Any:
    """Return a frame with its columns in the order of `columns`."""
    found = tuple(frame.columns)
    if len(found) == len(columns) and set(found) == set(columns):
        return frame.loc[:, list(columns)]
    if tuple(range(len(found))) == found or tuple(range(len(columns))) == columns:
        return frame
    wanted, got = (", ".join(map(str, names[:20])) for names in (columns, found))
    raise ValueError(
        f"expected {name} with the columns {wanted}, as the flow was fitted to; got {got}: give .to_numpy() "
        "if they are the same in this order"
    )


def _numbers(array: np.ndarray[Any, Any], name: str, kind: str) -> np.ndarray[Any, Any]:
    """Return an array of a dtype that torch has, in memory of its own."""
    if array.dtype.kind not in "biuf":
        what = kind if array.dtype == object else f"{kind} of {array.dtype}"
        raise TypeError(f"expected {name} as an array, tensor or dataset of numbers; got {what}")
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    elif dtype.kind == "u" and dtype.itemsize > 1:  # torch can do next to nothing with these
        dtype = np.dtype(np.int32 if dtype.itemsize == 2 else np.float64)
    return np.array(array, dtype=dtype, order="C")


def _unmasked(array: np.ma.MaskedArray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    mask = np.ma.getmaskarray(array)
    if mask.any():
        bad = mask.reshape(len(mask), -1).any(1) if mask.ndim else mask[None]
        raise ValueError(
            f"expected {name} without masked cells; got some in {int(bad.sum())} rows, the first is row "
            f"{int(bad.argmax())}: leave these rows out, or fill the cells"
        )
    return array.data


def _of_pandas(frame: Any, name: str) -> np.ndarray[Any, Any]:
    """Return a frame's or a series' numbers: columns of nullable and of Arrow's types have no NumPy dtype."""
    if frame.ndim == 1:
        return _column(frame, name, "")
    columns = [
        _column(frame.iloc[:, i], name, f" in column {frame.columns[i]!r}") for i in range(frame.shape[1])
    ]
    if not columns:
        return np.zeros(frame.shape)
    return np.stack([c.astype(np.result_type(*columns), copy=False) for c in columns], 1)


def _column(series: Any, name: str, where: str) -> np.ndarray[Any, Any]:
    dtype = series.dtype
    if not isinstance(dtype, np.dtype):
        if getattr(dtype, "kind", "O") not in "biuf" or str(dtype) == "category":
            raise TypeError(f"expected {name} of numbers; got {dtype}{where}")
        if series.hasnans or dtype.kind == "f":
            series = series.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            series = series.to_numpy(dtype=np.dtype(f"{dtype.kind}{8 if dtype.kind != 'b' else 1}"))
    array = np.asarray(series)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected {name} of numbers; got {array.dtype}{where}")
    return _numbers(array, name, "frame")
