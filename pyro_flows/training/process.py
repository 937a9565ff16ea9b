"""One process or many: what `fit` asks of the machine."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Process", "process_of"]


class Process:
    """A single process in full precision."""

    rank, world = 0, 1

    def prepare(self, loss: nn.Module) -> nn.Module:
        """Return the module as the step calls it."""
        return loss

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that the forward pass runs in."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()

    def mean(self, value: Tensor) -> Tensor:
        """Average a scalar over processes."""
        return value


class AcceleratedProcess(Process):
    """One of several processes under `torchrun` or `accelerate launch`, or mixed precision."""

    def __init__(self, precision: str, device: torch.device) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as error:
            raise ImportError(
                "several processes or mixed precision need accelerate: pip install 'pyro-flows[train]'"
            ) from error
        # Running statistics are the same on all ranks already: nothing to broadcast.
        options = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(
            mixed_precision=precision, cpu=device.type == "cpu", kwargs_handlers=[options]
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes

    def prepare(self, loss: nn.Module) -> nn.Module:
        """Wrap the module for data parallelism."""
        return self.accelerator.prepare_model(loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return Accelerate's autocast."""
        return self.accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, averaged over processes."""
        self.accelerator.backward(loss)

    def mean(self, value: Tensor) -> Tensor:
        """Average a scalar over processes."""
        return self.accelerator.reduce(value, "mean")


def process_of(precision: str, device: torch.device) -> Process:
    """Return how this process takes part: alone, or beside others."""
    if precision != "no" or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedProcess(precision, device)
    return Process()
