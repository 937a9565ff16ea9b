"""What `fit` takes as data, made a source of batches."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..._arrays import Columns, as_tensor
from ...flow import Flow
from ...transform import FlowTransform
from ...transforms import Units
from .contexts import ContextReader
from .copying import fits
from .dataset_source import DatasetSource
from .moments import doubles
from .precision import dtype_for
from .sources import Rows, Source, TensorSource

__all__ = ["kind_of", "source_of", "split"]


def kind_of(like: nn.Module) -> Tensor:
    """Return a tensor of the dtype and on the device of a module."""
    tensors = (*like.parameters(), *like.buffers())
    return next((t for t in tensors if t.is_floating_point()), torch.empty(0))


def source_of(
    data: Any,
    context: Any,
    *,
    like: Flow | FlowTransform,
    weights: Any = None,
    read_context: ContextReader | None = None,
    finite: bool = False,
    exact: tuple[bool, bool] | None = None,
    columns: tuple[Columns, Columns] | None = None,
    name: str = "data",
) -> Source:
    """Return the rows of `data`, with the dtype and device of the module `like`.

    Args:
        data: an array, a tensor, a data frame, a dataset or a `DataLoader`.
        context: rows of context, or None.
        like: a flow or a transform.
        weights: one number a row, or None.
        read_context: what checks contexts; if None, their shape is checked if `like` takes any.
        finite: whether a NaN or an infinity is an error.
        exact: whether data, and contexts, that need double precision keep it, for units to be subtracted
            first; if None, whether `like` has units for them.
        columns: names that data frames of data and context are to have; those that `like` keeps if None.
        name: what the data are called in errors.

    Raises:
        TypeError: if `data` is no array, tensor, data frame or dataset.
        ValueError: if it is empty, holds no rows of events, has another number of rows than context or
            weights, or should be finite and is not.
    """
    kind = kind_of(like)
    if read_context is None:
        read_context = ContextReader.of(like)
        read_context.any_shape = read_context.shape is None
    if exact is None:
        exact = _has_units(like)
    if isinstance(data, Dataset | DataLoader):
        if context is not None:
            raise TypeError("expected the dataset to give (x, context) pairs; got a context beside it")
        source: Source = DatasetSource(data, kind, read_context, exact=exact, name=name)
    else:
        of_name = "context" if name == "data" else f"context of {name}"
        if columns is None:
            columns = (like.columns, like.context_columns) if isinstance(like, Flow) else (None, None)
        rows = as_tensor(data, name, columns[0])
        given = None if context is None else as_tensor(context, of_name, columns[1])
        if rows.dim() < 1 or len(rows) == 0:
            raise ValueError(f"expected {name} of shape (rows, *event); got {tuple(rows.shape)}")
        if given is not None:
            if given.dim() < 1 or len(given) != len(rows):
                raise ValueError(
                    f"expected {len(rows)} rows of context, as many as of {name}; got shape "
                    f"{tuple(given.shape)}"
                )
            given = read_context(given, rows)
        if finite:
            _check_finite(rows, name)
            _check_finite(given, of_name)
        rows = rows.to(dtype_for(rows, kind.dtype, name, exact=exact[0]))
        if given is not None:
            given = given.to(dtype_for(given, kind.dtype, of_name, exact=exact[1]))
        if fits([rows] if given is None else [rows, given], kind.device):
            rows, given = rows.to(kind.device), None if given is None else given.to(kind.device)
        source = TensorSource(rows, given, kind.device)
    if weights is not None:
        source.weights = _weights(weights, len(source), name)
    return source


def _has_units(like: Flow | FlowTransform) -> tuple[bool, bool]:
    """Whether a flow has units for data and for contexts; of a transform, whether it has any."""
    if isinstance(like, Flow):
        own = like.units is not None and like.units.active
        return own, like.context_units is not None and like.context_units.active
    has = any(isinstance(m, Units) and m.active for m in like.modules())
    return has, has


def _check_finite(rows: Tensor | None, name: str) -> None:
    if rows is None or bool(rows.isfinite().all()):
        return
    bad = ~rows.isfinite().reshape(len(rows), -1).all(-1)
    raise ValueError(
        f"expected finite {name}; got a NaN or an infinity in {int(bad.sum())} rows, "
        f"the first is row {int(bad.nonzero()[0])}"
    )


def _weights(weights: Any, rows: int, name: str) -> Tensor:
    """Return weights in double precision, of which the largest is 1, whatever their units."""
    found = doubles(as_tensor(weights, "weights")).cpu()
    if found.shape != (rows,):
        raise ValueError(f"expected {rows} weights, one a row; got shape {tuple(found.shape)}")
    bad = ~(found.isfinite() & (found >= 0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(f"expected finite weights ≥ 0; got {float(found[row])} in row {row} of the {name}")
    largest = found.max()
    if not bool(largest > 0):
        raise ValueError(f"expected weights, some of them positive; got 0 in all {rows} rows of the {name}")
    return found / largest


def split(
    source: Source, validation: Any, *, like: Flow | FlowTransform, seed: int, **reading: Any
) -> tuple[Source, Source | None]:
    """Return training rows and validation rows: a fraction drawn by `seed`, or data of their own.

    `reading` are keywords of `source_of`, for these.
    """
    if not isinstance(validation, Real):
        parts = validation if isinstance(validation, tuple) else (validation, None)
        if not 2 <= len(parts) <= 3:
            expected = "(data, context) or (data, context, weights)"
            raise ValueError(f"expected validation data as {expected}; got {len(parts)} parts")
        data, context, weights = (*parts, None)[:3]
        reading |= {"weights": weights, "like": like, "finite": True, "name": "validation data"}
        return source, source_of(data, context, **reading)
    validation = float(validation)
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
