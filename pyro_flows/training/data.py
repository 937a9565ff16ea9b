"""Where minibatches come from: a tensor, an array or a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

__all__ = ["Source", "source_of"]


class Source(Protocol):
    """Rows (x, context) that can be fetched by index."""

    def __len__(self) -> int:
        """Count the rows."""

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield x and context of each batch of row indices, on the source's device."""


class TensorSource:
    """Rows of a tensor that lies on the device as a whole."""

    def __init__(self, data: Tensor, context: Tensor | None) -> None:
        if data.dim() < 1 or len(data) == 0:
            raise ValueError(f"expected data of shape (rows, *event); got {tuple(data.shape)}")
        if context is not None and len(context) != len(data):
            raise ValueError(f"expected {len(data)} rows of context, as many as of data; got {len(context)}")
        self.data, self.context = data, context

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows picked from the tensors."""
        for index in indices:
            index = index.to(self.data.device)
            yield self.data[index], None if self.context is None else self.context[index]


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
        for batch in DataLoader(self.data, batch_sampler=order, generator=torch.Generator()):
            x, context = (*batch, None)[:2] if isinstance(batch, list | tuple) else (batch, None)
            yield self._moved(x), None if context is None else self._moved(context)

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else None)


def source_of(data: Any, context: Any, *, like: nn.Module) -> Source:
    """Return the rows of `data`, with the dtype and device of the module `like`.

    Raises:
        TypeError: where `data` is no array, tensor or dataset.
        ValueError: where it is empty or holds no rows of events.
    """
    tensors = (*like.parameters(), *like.buffers())
    kind = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    if isinstance(data, Dataset):
        if context is not None:
            raise TypeError("expected the dataset to give (x, context) pairs; got a context beside it")
        return DatasetSource(data, kind.device, kind.dtype)

    def moved(value: Any, name: str) -> Tensor:
        if not isinstance(value, Tensor):
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"expected {name} as numbers; got {type(value).__name__} of {array.dtype}")
            value = torch.tensor(array)
        return value.detach().to(kind.device, kind.dtype)

    return TensorSource(moved(data, "data"), None if context is None else moved(context, "context"))


class _Rows:
    """Some rows of a source."""

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        return self.source.batches(self.rows[index] for index in indices)


def split(source: Source, validation: Any, *, like: nn.Module, seed: int) -> tuple[Source, Source | None]:
    """Return training rows and validation rows: a fraction drawn by `seed`, or data of their own."""
    if not isinstance(validation, int | float):
        pair = validation if isinstance(validation, tuple) else (validation, None)
        return source, source_of(*pair, like=like)
    if not 0 <= validation < 1:
        raise ValueError(f"expected a validation fraction in [0, 1); got {validation}")
    count = round(validation * len(source))
    if validation and not 0 < count < len(source):
        raise ValueError(f"expected rows enough to hold out {validation:.0%} of them; got {len(source)}")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return _Rows(source, order[count:]), _Rows(source, order[:count]) if count else None
