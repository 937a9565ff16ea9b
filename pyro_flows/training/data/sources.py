"""Where minibatches come from: tensors, or some rows of another source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ...transform import FlowTransform
from .checksums import checksums
from .copying import copied_ahead

__all__ = [
    "Batch",
    "Rows",
    "Source",
    "TensorSource",
    "first_row",
    "inner_source",
    "mean_one",
    "row_of",
    "rows_at_once",
    "that_count",
]

Batch = tuple[Tensor, Tensor | None]


class Source(Protocol):
    """Rows (x, context) that can be fetched by index."""

    weights: Tensor | None  # one a row

    def __len__(self) -> int:
        """Count the rows."""

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield x and context of each batch of row indices, on the flow's device.

        `key` and a row's index determine what a worker process draws for it at random.
        """

    def checksums(self) -> dict[str, int]:
        """Return numbers that tell data, context and weights from others, as far as they can be known."""


class TensorSource:
    """Rows of tensors, which lie on the flow's device as a whole, or else are copied to it batch by batch.

    Args:
        data: of shape (rows, *event).
        context: of shape (rows, *context_shape), or None.
        device: where batches are wanted.
    """

    def __init__(self, data: Tensor, context: Tensor | None, device: torch.device) -> None:
        self.data, self.context, self.device = data, context, device
        self.weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield the rows picked from the tensors."""
        if self.data.device == self.device:
            return self._picked(indices)
        return copied_ahead(self._picked(indices), self.device)

    def _picked(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        for index in indices:
            index = index.to(self.data.device, non_blocking=True)
            yield self.data[index], None if self.context is None else self.context[index]

    def checksums(self) -> dict[str, int]:
        """Return those of all numbers: they cost less than the look at whether all are finite."""
        return checksums(data=[self.data], context=[self.context], weights=[self.weights])


class Rows:
    """Some rows of a source."""

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.weights = None if source.weights is None else source.weights[rows.to(source.weights.device)]
        self.source, self.rows = inner_source(source), rows
        if isinstance(source, Rows):
            self.rows = source.rows[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield these rows of the source."""
        return self.source.batches((self.rows[index] for index in indices), key=key)

    def checksums(self) -> dict[str, int]:
        """Return the source's."""
        return self.source.checksums()


def inner_source(source: Source) -> Source:
    """Return what a source's rows are chosen from."""
    return source.source if isinstance(source, Rows) else source


def row_of(source: Source, row: Tensor) -> int:
    """Return which row of the user's own a row of a source is."""
    return int(source.rows[row] if isinstance(source, Rows) else row)


def first_row(source: Source) -> Tensor:
    """Return x of the first row, of shape (1, *event)."""
    return next(iter(source.batches([torch.zeros(1, dtype=torch.long)])))[0]


def that_count(source: Source) -> Source:
    """Return the rows whose weight is not zero: others would only take up room in batches."""
    if source.weights is None or bool((source.weights > 0).all()):
        return source
    return Rows(source, source.weights.nonzero()[:, 0])


def mean_one(source: Source, like: Tensor) -> Source:
    """Return the source with weights of mean one, of the dtype and on the device of `like`."""
    if source.weights is None:
        return source
    found = Rows(source, torch.arange(len(source)))  # the weights as given belong to the checksum
    found.weights = (source.weights / source.weights.mean()).to(like)
    return found


def rows_at_once(transform: FlowTransform) -> int:
    """Return how many rows to evaluate without a gradient: 4096, or fewer of more than 64 numbers each."""
    shape = transform.codomain_shape
    return 4096 if shape is None else max(1, 2**18 // max(64, shape.numel()))
