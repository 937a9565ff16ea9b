"""Counting what reads a value back from the device: for each, the host waits until the GPU has caught up."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Reads"]

NOT_NAMED = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
# Operations whose result, or its shape, the host knows only after the device has computed it.
READING = {
    "_local_scalar_dense",  # item, float, int, bool
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}
BY_MASK = {"index", "index_put", "index_put_", "_index_put_impl_"}
METHODS = ("__array__", "cpu", "numpy", "tolist")  # no operations on a CPU


class Reads(TorchDispatchMode):
    """Notes each read as (operation, line of Python that made it), in the list `found`.

    Operations in a backward pass count too. A CPU tensor stands for one on a GPU; a Python number that
    becomes a tensor is no read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        masks = name in BY_MASK and any(i is not None and i.dtype is torch.bool for i in args[1])
        generators = name == "equal" and args[0].dtype is torch.uint8  # whose state lives on the host
        if (name in READING and not generators) or masks or _leaves(name, args, kwargs):
            self._note(name)
        return func(*args, **kwargs)

    def __enter__(self) -> Reads:
        self.methods = {name: getattr(Tensor, name) for name in METHODS}
        for name, method in self.methods.items():
            setattr(Tensor, name, self._counted(name, method))
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        for name, method in self.methods.items():
            setattr(Tensor, name, method)
        super().__exit__(*raised)

    def _counted(self, name: str, method: Any) -> Any:
        def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._note(name)
            return method(tensor, *args, **kwargs)

        return counted

    def _note(self, name: str) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(NOT_NAMED):
            frame = frame.f_back
        where = (
            "backward pass" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        )
        self.found.append((name, where))


def _leaves(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a tensor is copied from a GPU to the CPU."""
    if name not in ("_to_copy", "copy_"):
        return False
    tensors = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
    target = kwargs.get("device") if len(tensors) == 1 else tensors[0].device
    return target is not None and torch.device(target).type == "cpu" != tensors[-1].device.type
