"""One process or many: what `fit` asks of the machine."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Process", "process_of"]


class Process:
    """A single process."""

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def zero(self) -> Tensor:
        """Return 0 on the device, in double precision if it has that, for sums of losses."""
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros((), dtype=dtype, device=self.device)

    def prepare(self, loss: nn.Module) -> nn.Module:
        """Return the module as the step calls it."""
        return loss

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor over processes, on the device."""
        return value

    def of_first(self, value: Any) -> Any:
        """Return the first process's value to all."""
        return value


class AcceleratedProcess(Process):
    """One of several processes under `torchrun` or `accelerate launch`."""

    def __init__(self, device: torch.device) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as error:
            raise ImportError("several processes need accelerate: pip install 'pyro-flows[train]'") from error
        # Running statistics are the same on all ranks already: nothing to broadcast.
        options = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(
            mixed_precision="no", cpu=device.type == "cpu", kwargs_handlers=[options]
        )
        super().__init__(self.accelerator.device)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes

    def prepare(self, loss: nn.Module) -> nn.Module:
        """Wrap the module for data parallelism, which averages gradients over processes."""
        with warnings.catch_warnings():
            # The option's new name is neither in older torch nor in Accelerate.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return self.accelerator.prepare_model(loss)

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor over processes, on the device."""
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean

    def of_first(self, value: Any) -> Any:
        """Return the first process's value to all."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]


def process_of(device: torch.device) -> Process:
    """Return how this process takes part: alone, or beside others."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return AcceleratedProcess(device) if several else Process(device)
