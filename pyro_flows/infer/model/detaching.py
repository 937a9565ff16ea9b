"""Models that read ``tensor.data``, as Pyro's Gaussian hidden Markov models do, under `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["detaching", "reads_data"]

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


def reads_data(problem: str) -> bool:
    """Whether vmap raised because of ``tensor.data``."""
    return "accessing `data`" in problem


class _Detaching(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].detach() if func == _DATA else func(*args, **kwargs or {})


def detaching(body: Callable[..., Any]) -> Callable[..., Any]:
    """Return `body` with ``tensor.detach()`` in place of ``tensor.data``: both share the tensor's memory."""

    def run(*args: Any) -> Any:
        with _Detaching():
            return body(*args)

    return run
