"""What `fit` takes as data, made a source of batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..._arrays import as_tensor
from ...transforms import Units
from .contexts import ContextReader
from .copying import fits
from .moments import needs_double
from .sources import DatasetSource, Rows, Source, TensorSource

__all__ = ["source_of", "split"]


def source_of(
    data: Any,
    context: Any,
    *,
    like: nn.Module,
    weights: Any = None,
    read_context: ContextReader | None = None,
    finite: bool = False,
    exact: bool | None = None,
    name: str = "data",
) -> Source:
    """Return the rows of `data`, with the dtype and device of the module `like`.

    Args:
        data: an array, a tensor, a data frame, a dataset or a `DataLoader`.
        context: rows of context, or None.
        like: a flow or a transform.
        weights: one number a row, or None.
        read_context: what checks contexts; None takes them as they are.
        finite: whether a NaN or an infinity is an error.
        exact: whether data that need double precision keep it, for units to be subtracted first; if None,
            whether `like` has units.
        name: what the data are called in errors.

    Raises:
        TypeError: if `data` is no array, tensor, data frame or dataset.
        ValueError: if it is empty, holds no rows of events, has another number of rows than context or
            weights, or should be finite and is not.
    """
    tensors = (*like.parameters(), *like.buffers())
    kind = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    read_context = read_context or ContextReader(None, any_shape=True)
    if isinstance(data, Dataset | DataLoader):
        if context is not None:
            raise TypeError("expected the dataset to give (x, context) pairs; got a context beside it")
        source: Source = DatasetSource(data, kind.device, kind.dtype, read_context)
    else:
        if exact is None:
            exact = any(isinstance(m, Units) and m.active for m in like.modules())
        rows = _of_dtype(as_tensor(data, name), kind.dtype, exact=exact)
        if rows.dim() < 1 or len(rows) == 0:
            raise ValueError(f"expected {name} of shape (rows, *event); got {tuple(rows.shape)}")
        given = None
        if context is not None:
            given = as_tensor(context, f"context of {name}" if name != "data" else "context")
            if given.dim() < 1 or len(given) != len(rows):
                raise ValueError(
                    f"expected {len(rows)} rows of context, as many as of {name}; got shape "
                    f"{tuple(given.shape)}"
                )
            given = read_context(given)
            given = None if given is None else _of_dtype(given, kind.dtype, exact=exact)
        if finite:
            _check_finite(rows, name)
            _check_finite(given, "context" if name == "data" else f"context of {name}")
        if fits([rows] if given is None else [rows, given], kind.device):
            rows, given = rows.to(kind.device), None if given is None else given.to(kind.device)
        source = TensorSource(rows, given, kind.device)
    if weights is not None:
        source.weights = _weights(weights, len(source), kind)
    return source


def _of_dtype(rows: Tensor, dtype: torch.dtype, *, exact: bool) -> Tensor:
    return rows.double() if exact and needs_double(rows) else rows.to(dtype)


def _check_finite(rows: Tensor | None, name: str) -> None:
    if rows is None or bool(rows.isfinite().all()):
        return
    bad = ~rows.isfinite().reshape(len(rows), -1).all(-1)
    raise ValueError(
        f"expected finite {name}; got a NaN or an infinity in {int(bad.sum())} rows, "
        f"the first is row {int(bad.nonzero()[0])}"
    )


def _weights(weights: Any, rows: int, kind: Tensor) -> Tensor:
    found = as_tensor(weights, "weights")
    if found.shape != (rows,):
        raise ValueError(f"expected {rows} weights, one a row; got shape {tuple(found.shape)}")
    if not bool((found.isfinite() & (found >= 0)).all()) or not bool((found > 0).any()):
        raise ValueError("expected finite weights ≥ 0, some of them positive; got others")
    return found.to(kind.device, kind.dtype)


def split(
    source: Source, validation: Any, *, like: nn.Module, seed: int, **reading: Any
) -> tuple[Source, Source | None]:
    """Return training rows and validation rows: a fraction drawn by `seed`, or data of their own.

    `reading` are keywords of `source_of`, for these.
    """
    if not isinstance(validation, int | float):
        parts = validation if isinstance(validation, tuple) else (validation, None)
        if not 2 <= len(parts) <= 3:
            expected = "(data, context) or (data, context, weights)"
            raise ValueError(f"expected validation data as {expected}; got {len(parts)} parts")
        data, context, weights = (*parts, None)[:3]
        reading |= {"weights": weights, "like": like, "finite": True, "name": "validation data"}
        return source, source_of(data, context, **reading)
    if not 0 <= validation < 1:
        raise ValueError(f"expected a validation fraction in [0, 1); got {validation}")
    count = round(validation * len(source))
    if validation and not 0 < count < len(source):
        raise ValueError(
            f"expected enough rows to hold out {validation:.3g} of them; got {len(source)}: "
            "give validation=0 for none"
        )
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return Rows(source, order[count:]), Rows(source, order[:count]) if count else None
