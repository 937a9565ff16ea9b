"""Where minibatches come from: a tensor, an array or a data set."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..transform import FlowTransform

__all__ = ["Source", "rows_at_once", "source_of", "split"]


class Source(Protocol):
    """Rows (x, context) that can be fetched by index."""

    def __len__(self) -> int:
        """Count the rows."""

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield x and context of each batch of row indices, on the source's device."""

    def checksum(self) -> int:
        """Return a number that tells these rows from others; 0 where rows may change when read."""


class TensorSource:
    """Rows of a tensor that lies on the device as a whole."""

    def __init__(self, data: Tensor, context: Tensor | None, *, finite: bool) -> None:
        if data.dim() < 1 or len(data) == 0:
            raise ValueError(f"expected data of shape (rows, *event); got {tuple(data.shape)}")
        if context is not None and (context.dim() < 1 or len(context) != len(data)):
            raise ValueError(
                f"expected {len(data)} rows of context, as many as of data; got shape {tuple(context.shape)}"
            )
        for name, rows in (("data", data), ("context", context)):
            if finite and rows is not None and not bool(rows.isfinite().all()):
                bad = ~rows.isfinite().reshape(len(rows), -1).all(-1)
                raise ValueError(
                    f"expected finite {name}; got a NaN or an infinity in {int(bad.sum())} rows, "
                    f"the first is row {int(bad.nonzero()[0])}"
                )
        self.data, self.context = data, context

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows picked from the tensors."""
        for index in indices:
            index = index.to(self.data.device)
            yield self.data[index], None if self.context is None else self.context[index]

    def checksum(self) -> int:
        """Return the CRC of the first thousand rows."""
        return zlib.crc32(bytes(self.data[:1000].cpu().contiguous().view(torch.uint8).numpy()))


class DatasetSource:
    """Rows of a map-style `torch.utils.data.Dataset` that gives x, (x,) or (x, context)."""

    def __init__(self, data: Dataset[Any], device: torch.device, dtype: torch.dtype) -> None:
        if not hasattr(data, "__len__"):
            raise TypeError(f"expected a dataset with a length; got {type(data).__name__}")
        if len(data) == 0:
            raise ValueError("expected a dataset with rows; got an empty one")
        self.data, self.device, self.dtype = data, device, dtype

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows as torch's `DataLoader` collates them."""
        order = [index.tolist() for index in indices]
        # A generator of its own keeps the loader from drawing from the global one.
        for batch in DataLoader(self.data, batch_sampler=order, generator=torch.Generator()):
            pair = batch if isinstance(batch, list | tuple) else (batch,)
            if not (1 <= len(pair) <= 2 and all(isinstance(part, Tensor) for part in pair)):
                raise TypeError(
                    f"expected a dataset of rows x, or of pairs (x, context); got {_kinds(batch)}"
                )
            x, context = (*pair, None)[:2]
            yield self._moved(x), None if context is None else self._moved(context)

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype)

    def checksum(self) -> int:
        """Return 0: a data set may give other rows each time."""
        return 0


def _kinds(batch: Any) -> str:
    if isinstance(batch, list | tuple):
        return f"({', '.join(type(part).__name__ for part in batch)})"
    return type(batch).__name__


def source_of(data: Any, context: Any, *, like: nn.Module, finite: bool = False) -> Source:
    """Return the rows of `data`, with the dtype and device of the module `like`.

    Raises:
        TypeError: where `data` is no array, tensor or dataset.
        ValueError: where it is empty, holds no rows of events, or should be `finite` and is not.
    """
    tensors = (*like.parameters(), *like.buffers())
    kind = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    if isinstance(data, Dataset):
        if context is not None:
            raise TypeError("expected the dataset to give (x, context) pairs; got a context beside it")
        return DatasetSource(data, kind.device, kind.dtype)

    def moved(value: Any, name: str) -> Tensor:
        if not isinstance(value, Tensor):
            array = np.array(value, order="C")
            if array.dtype.kind not in "biuf":
                raise TypeError(
                    f"expected {name} as an array, tensor or dataset of numbers; got {type(value).__name__}"
                )
            value = torch.from_numpy(array)
        return value.detach().to(kind.device, kind.dtype)

    rows = None if context is None else moved(context, "context")
    return TensorSource(moved(data, "data"), rows, finite=finite)


def rows_at_once(transform: FlowTransform) -> int:
    """Return how many rows to evaluate without a gradient: 4096, or fewer of more than 64 numbers each."""
    shape = transform.codomain_shape
    return 4096 if shape is None else max(1, 2**18 // max(64, shape.numel()))


class _Rows:
    """Some rows of a source."""

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        return self.source.batches(self.rows[index] for index in indices)

    def checksum(self) -> int:
        return self.source.checksum()


def split(source: Source, validation: Any, *, like: nn.Module, seed: int) -> tuple[Source, Source | None]:
    """Return training rows and validation rows: a fraction drawn by `seed`, or data of their own."""
    if not isinstance(validation, int | float):
        pair = validation if isinstance(validation, tuple) else (validation, None)
        if len(pair) != 2:
            raise ValueError(f"expected validation data as (data, context); got {len(pair)} parts")
        return source, source_of(*pair, like=like, finite=True)
    if not 0 <= validation < 1:
        raise ValueError(f"expected a validation fraction in [0, 1); got {validation}")
    count = round(validation * len(source))
    if validation and not 0 < count < len(source):
        raise ValueError(
            f"expected enough rows to hold out {validation:.3g} of them; got {len(source)}: "
            "give validation=0 for none"
        )
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return _Rows(source, order[count:]), _Rows(source, order[:count]) if count else None
