"""What may not touch the CPU."""

from __future__ import annotations

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class NoCPU(TorchDispatchMode):
    """Raises if an operation touches a CPU tensor of one dimension or more."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.dim() >= 1:
                raise AssertionError(f"{func} touched a CPU tensor of shape {tuple(leaf.shape)}")
        return result
