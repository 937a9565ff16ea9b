"""Where minibatches come from: tensors or a data set."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from ...loop.generators import seed_generators
from ...transform import FlowTransform
from .copying import copied_ahead

__all__ = [
    "Batch",
    "DatasetSource",
    "Rows",
    "Source",
    "TensorSource",
    "first_row",
    "inner_source",
    "mean_one",
    "rows_at_once",
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

    def checksum(self) -> int:
        """Return a number that tells these rows from others; 0 if rows may change when read."""


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

    def checksum(self) -> int:
        """Return the CRC of the first thousand rows."""
        return zlib.crc32(bytes(self.data[:1000].cpu().contiguous().view(torch.uint8).numpy()))


_OPTIONS = (
    "num_workers",
    "collate_fn",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)


class DatasetSource:
    """Rows of a map-style `torch.utils.data.Dataset` that gives x, (x,) or (x, context).

    Args:
        data: the data set, or a loader whose data set, workers, pinning and collation are used.
        device: where batches are wanted.
        dtype: the flow's dtype.
        read_context: makes what the data set gives beside x a context.
    """

    def __init__(
        self,
        data: Dataset[Any] | DataLoader[Any],
        device: torch.device,
        dtype: torch.dtype,
        read_context: Callable[[Tensor | None], Tensor | None],
    ) -> None:
        self.options: dict[str, Any] = {}
        if isinstance(data, DataLoader):
            _check_sampler(data)
            self.options = {name: getattr(data, name) for name in _OPTIONS}
            self.options["pin_memory"] = data.pin_memory and device.type == "cuda"
            data = data.dataset
        if not hasattr(data, "__len__"):
            raise TypeError(f"expected a dataset with a length; got {type(data).__name__}")
        if len(data) == 0:
            raise ValueError("expected a dataset with rows; got an empty one")
        self.data, self.device, self.dtype, self.read_context = data, device, dtype, read_context
        self.weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield the rows as torch's `DataLoader` collates them."""
        order: list[list[Any]] = [index.tolist() for index in indices]
        data = self.data
        if self.options.get("num_workers"):
            # In whichever process and after whatever others a row is read, it is the same.
            data, order = _Seeded(data), [[(key, index) for index in batch] for batch in order]
        # A generator of its own keeps the loader from drawing from the global one.
        loader = DataLoader(data, batch_sampler=order, generator=torch.Generator(), **self.options)
        for batch in loader:
            pair = batch if isinstance(batch, list | tuple) else (batch,)
            if not (1 <= len(pair) <= 2 and all(isinstance(part, Tensor) for part in pair)):
                raise TypeError(
                    f"expected a dataset of rows x, or of pairs (x, context); got {_kinds(batch)}"
                )
            x, context = (*pair, None)[:2]
            context = self.read_context(context)
            yield self._moved(x), None if context is None else self._moved(context)

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=x.is_pinned()).to(self.dtype)

    def checksum(self) -> int:
        """Return 0: a data set may give other rows each time."""
        return 0


def _check_sampler(loader: DataLoader[Any]) -> None:
    plain = type(loader.batch_sampler) in (BatchSampler, type(None))
    if isinstance(loader.dataset, IterableDataset):  # is refused for having no length
        return
    if plain and isinstance(loader.sampler, RandomSampler | SequentialSampler):
        return
    got = type(loader.sampler if plain else loader.batch_sampler).__name__
    raise ValueError(
        f"expected a loader without a sampler of its own, as the order of rows is fit's; got {got}: give the "
        "data set, and weights=… if rows count differently"
    )


class _Seeded(Dataset[Any]):
    """A data set read in worker processes, whose random numbers depend on the index and the key alone."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __getitem__(self, place: tuple[int, int]) -> Any:
        seed_generators(*place, device=torch.device("cpu"))
        return self.data[place[1]]


def _kinds(batch: Any) -> str:
    if isinstance(batch, list | tuple):
        return f"({', '.join(type(part).__name__ for part in batch)})"
    return type(batch).__name__


class Rows:
    """Some rows of a source."""

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows
        self.weights = None if source.weights is None else source.weights[rows.to(source.weights.device)]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield these rows of the source."""
        return self.source.batches((self.rows[index] for index in indices), key=key)

    def checksum(self) -> int:
        """Return the source's."""
        return self.source.checksum()


def inner_source(source: Source) -> Source:
    """Return what a source's rows are chosen from."""
    while isinstance(source, Rows):
        source = source.source
    return source


def first_row(source: Source) -> Tensor:
    """Return x of the first row, of shape (1, *event)."""
    return next(iter(source.batches([torch.zeros(1, dtype=torch.long)])))[0]


def mean_one(source: Source) -> Source:
    """Return the source with weights of mean one."""
    if source.weights is not None:
        source.weights = source.weights / source.weights.mean()
    return source


def rows_at_once(transform: FlowTransform) -> int:
    """Return how many rows to evaluate without a gradient: 4096, or fewer of more than 64 numbers each."""
    shape = transform.codomain_shape
    return 4096 if shape is None else max(1, 2**18 // max(64, shape.numel()))
