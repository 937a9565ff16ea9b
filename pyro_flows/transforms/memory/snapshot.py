"""What an evaluation depends on beside its inputs, so that it can be done again as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

__all__ = ["Autocast", "RandomState", "Statistics", "bound", "drawn_again", "random_state", "same"]

Statistics = list[tuple[nn.Module, dict[str, Tensor]]]
RandomState = tuple[Tensor, str, list[int], list[Tensor]]


@contextmanager
def bound(statistics: Sequence[tuple[nn.Module, dict[str, Tensor]]]) -> Iterator[None]:
    """Let modules see, and change, copies of these statistics in place of their own."""
    outside = [(m, dict(m._buffers)) for m, _ in statistics]
    for module, values in statistics:
        module._buffers.update({name: value.clone() for name, value in values.items()})
    try:
        yield
    finally:
        for module, buffers in outside:
            module._buffers.update(buffers)


class Autocast:
    """The autocast state of a device, to be entered again."""

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.state = self._now() if torch.amp.is_autocast_available(device_type) else None

    def _now(self) -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(self.device_type), torch.get_autocast_dtype(self.device_type)

    def again(self, *, cached: bool) -> AbstractContextManager[Any]:
        """Enter it, with or without autocast's cache of cast weights."""
        if self.state is None or not (self.state[0] or self._now()[0]):  # entering takes time
            return nullcontext()
        enabled, dtype = self.state
        return torch.autocast(self.device_type, dtype=dtype, enabled=enabled, cache_enabled=cached)


def random_state(value: Tensor) -> RandomState:
    """Return the state of the generators that layers on the value's device draw from."""
    kind = value.device.type
    devices, states = ([], []) if kind in ("cpu", "meta") else get_device_states(value)
    return torch.get_rng_state(), kind, devices, states


def same(a: RandomState, b: RandomState) -> bool:
    """Whether nothing was drawn in between."""
    return torch.equal(a[0], b[0]) and all(torch.equal(s, t) for s, t in zip(a[3], b[3], strict=True))


@contextmanager
def drawn_again(state: RandomState | None) -> Iterator[None]:
    """Draw what was drawn from `state` on; the generators are given back as they were."""
    if state is None:
        yield
        return
    here, kind, devices, states = state
    forked = {"device_type": kind} if devices else {}
    with torch.random.fork_rng(devices, **forked):
        torch.set_rng_state(here)
        if devices:
            set_device_states(devices, states, device_type=kind)
        yield
