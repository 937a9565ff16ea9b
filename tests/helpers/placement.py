"""What may not touch the CPU."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class NoCPU(TorchDispatchMode):
    """Raises if an operation touches a CPU tensor with dimensions, but for the indices of Pyro's plates."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if (
                isinstance(leaf, Tensor)
                and leaf.device.type == "cpu"
                and leaf.dim() >= 1
                and not _in_a_plate()
            ):
                raise AssertionError(f"{func} touched a CPU tensor of shape {tuple(leaf.shape)}")
        return result


def _in_a_plate() -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.endswith("subsample_messenger.py"):
        frame = frame.f_back
    return frame is not None


class AdamAnywhere(torch.optim.Adam):
    """Adam that skips steps on the device, as the fused one does if there are kernels for it."""

    _step_supports_amp_scaling = True

    def __init__(self, parameters):
        super().__init__(parameters, lr=1e-3, foreach=True)

    def step(self):
        scale, skip = self.__dict__.pop("grad_scale"), self.__dict__.pop("found_inf")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = torch.where(skip > 0, 0.0, parameter.grad / scale)
        super().step()
