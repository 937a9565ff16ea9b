"""What may not touch the CPU."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["NoCPU"]


class NoCPU(TorchDispatchMode):
    """Raises if an operation touches a CPU tensor with dimensions, except the indices of Pyro's plates."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            on_cpu = isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.dim() >= 1
            if on_cpu and not _in_a_plate():
                raise AssertionError(f"{func} touched a CPU tensor of shape {tuple(leaf.shape)}")
        return result


def _in_a_plate() -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.endswith("subsample_messenger.py"):
        frame = frame.f_back
    return frame is not None
