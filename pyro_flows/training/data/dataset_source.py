"""Minibatches from a data set of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from ...loop.generators import seed_generators
from .checksums import checksums
from .moments import WIDE
from .precision import dtype_for
from .sources import Batch

__all__ = ["DatasetSource"]

_ROWS, _FEWEST, _NUMBERS = 1000, 100, 2**20  # of a data set, from which their precision is found
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
        like: a tensor of the dtype and on the device of the flow.
        read_context: makes what the data set gives beside x a context.
        exact: whether x, and the context, keep double precision if they need it.
        name: what the data are called in errors.
    """

    def __init__(
        self,
        data: Dataset[Any] | DataLoader[Any],
        like: Tensor,
        read_context: Callable[[Tensor | None, Tensor], Tensor | None],
        *,
        exact: tuple[bool, bool],
        name: str,
    ) -> None:
        self.options: dict[str, Any] = {}
        self.device = like.device
        if isinstance(data, DataLoader):
            _check_sampler(data)
            self.options = {name: getattr(data, name) for name in _OPTIONS}
            self.options["pin_memory"] = data.pin_memory and self.device.type == "cuda"
            data = data.dataset
        if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
            kind = type(data).__name__
            raise TypeError(f"expected a dataset with a length, whose rows have an index; got {kind}")
        if len(data) == 0:
            raise ValueError("expected a dataset with rows; got an empty one")
        self.data, self.read_context = data, read_context
        self.weights: Tensor | None = None
        self.dtypes = [like.dtype, like.dtype]
        if any(exact):
            self.dtypes = self._dtypes(like.dtype, name, exact)

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
        """Yield the rows as torch's `DataLoader` collates them."""
        for x, context in self._read(indices, key=key):
            moved = None if context is None else self._moved(context, self.dtypes[1])
            yield self._moved(x, self.dtypes[0]), moved

    def _read(self, indices: Iterable[Tensor], *, key: int = 0) -> Iterator[Batch]:
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
            yield x, self.read_context(context, x)

    def _moved(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(self.device, non_blocking=x.is_pinned()).to(dtype)

    def _dtypes(self, dtype: torch.dtype, name: str, exact: tuple[bool, bool]) -> list[torch.dtype]:
        """Return the dtypes of x and context, told from some rows if the first one is wider than the flow."""
        ((x, context),) = self._read([torch.zeros(1, dtype=torch.long)])
        wide = {part.dtype for part in (x, context) if part is not None and part.dtype in WIDE}
        if not wide - {dtype}:
            return [dtype, dtype]
        count = min(_ROWS, max(_FEWEST, _NUMBERS // max(1, x.numel())))
        step = max(1, len(self.data) // count)
        ((x, context),) = self._read([torch.arange(0, len(self.data), step)])
        found = [(x, name), (context, "context" if name == "data" else f"context of {name}")]
        return [
            dtype if part is None else dtype_for(part, dtype, called, exact=own, step=step)
            for (part, called), own in zip(found, exact, strict=True)
        ]

    def checksums(self) -> dict[str, int]:
        """Return those of a data set of tensors, and of the weights; others may give new rows each time."""
        return checksums(data=_tensors_of(self.data), weights=[self.weights])


def _tensors_of(data: Dataset[Any]) -> list[Tensor]:
    """Return what a data set is made of, as far as that is tensors."""
    if type(data) is TensorDataset:
        return list(data.tensors)
    if type(data) is Subset:
        return [torch.tensor(data.indices), *_tensors_of(data.dataset)]
    return []


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
