"""What an evaluation depends on besides its inputs, so that it can be repeated exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import get_device_states, set_device_states

from ..._fingerprint import version
from ...nn import RunningMoments
from ...nn.lipschitz import SpectralLinear
from ..passing import Step

__all__ = [
    "Autocast",
    "Layer",
    "RandomState",
    "Statistics",
    "drawn_again",
    "random_state",
    "same",
    "substituted",
    "versions",
]

Statistics = list[tuple[nn.Module, dict[str, Tensor]]]
RandomState = tuple[Tensor, str, list[int], list[Tensor]]

_TRACKING = RunningMoments, SpectralLinear, _NormBase


class Layer:
    """A step of a pass, and what its evaluation depends on."""

    before: Statistics
    after: Statistics
    random: RandomState | None

    def __init__(self, step: Step, keep: bool = False) -> None:
        self.step, self.keep = step, keep
        self.modes: list[bool] = []
        self.tracking: list[nn.Module] = []
        self.parameters: list[Tensor] = []
        self.buffers: list[Tensor] = []
        modules: list[nn.Module] = [step.part]
        while modules:  # `modules()` takes several times as long, and most have next to nothing
            m = modules.pop()
            self.modes.append(m.training)
            if m._parameters:
                self.parameters += [p for p in m._parameters.values() if p is not None]
            if m._buffers:
                if m.training and isinstance(m, _TRACKING):
                    self.tracking.append(m)
                else:
                    self.buffers += [b for b in m._buffers.values() if b is not None]
            if m._modules:
                modules += [child for child in m._modules.values() if child is not None]
        self.tensors = [t for t in (*self.parameters, *self.buffers) if t.requires_grad]

    def statistics(self) -> Statistics:
        """Return copies of the running statistics."""
        return [(m, {k: b.clone() for k, b in m._buffers.items() if b is not None}) for m in self.tracking]


def versions(layers: Sequence[Layer]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return what tells whether parameters, buffers or modes of the layers have changed."""
    parameters = [(id(t), version(t)) for layer in layers for t in layer.parameters]
    buffers = [(id(t), version(t)) for layer in layers for t in layer.buffers]
    return parameters, buffers, [layer.modes for layer in layers]


@contextmanager
def substituted(statistics: Sequence[tuple[nn.Module, dict[str, Tensor]]]) -> Iterator[None]:
    """Give modules copies of these statistics, to read and to change, in place of their own."""
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
        """Return a context with that state, with or without autocast's cache of cast weights."""
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
    """Set the generators to `state`, and back to where they are now afterwards."""
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
