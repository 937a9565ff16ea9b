"""Which rows each step sees, by the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .data import Source
from .process import Process

__all__ = ["Batch", "Order"]

Batch = tuple[Tensor, Tensor | None, Tensor | None]  # x, context, weights


class Order:
    """An epoch's batches, shuffled anew in each; those of several processes make up one batch.

    Args:
        rows: what is trained on.
        size: rows of a batch over all processes; an epoch's last, smaller batch is left out.
        seed: of the order.
        process: alone, or one of many.

    Raises:
        ValueError: if the processes cannot have equal shares of a batch.
    """

    def __init__(self, rows: Source, size: int, *, seed: int, process: Process) -> None:
        self.rows, self.size, self.seed, self.process = rows, min(size, len(rows)), seed, process
        if self.size % process.world:
            raise ValueError(f"expected a batch_size divisible by {process.world} processes; got {self.size}")
        self.steps = len(rows) // self.size

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Yield this process's batches of an epoch, from step `start` on."""
        key = self.seed + 1_000_003 * (epoch + 1)
        rows = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(key))
        order = rows[: self.steps * self.size].split(self.size)[start:]
        mine = [batch[self.process.rank :: self.process.world] for batch in order]
        weights = self.rows.weights
        for index, (x, context) in zip(mine, self.rows.batches(mine, key=key), strict=True):
            if weights is not None:
                index = index.to(weights.device, non_blocking=True)
            yield x, context, None if weights is None else weights[index]
