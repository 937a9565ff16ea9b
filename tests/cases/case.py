"""What a case is: how to build a transform, and what fits it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import transform_to

import pyro_flows as pf
from pyro_flows import FlowTransform
from pyro_flows import transforms as tr
from pyro_flows.nn import RunningMoments

__all__ = ["Case", "device", "on", "perturb"]

_device = [torch.device("cpu")]


def device() -> torch.device:
    """Where cases are built."""
    return _device[-1]


@contextmanager
def on(where: torch.device | str) -> Iterator[None]:
    """Build cases, and what fits them, on another device."""
    _device.append(torch.device(where))
    try:
        yield
    finally:
        _device.pop()


def perturb(module: nn.Module, seed: int = 0, scale: float = 0.3) -> None:
    """Move parameters and running statistics away from where a new layer is the identity."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like) * scale

    with torch.no_grad():
        for parameter in module.parameters():
            parameter += noise(parameter)
        for part in module.modules():
            if isinstance(part, RunningMoments):
                part.mean += noise(part.mean)
                part.variance *= noise(part.variance).exp()
                part.weight.fill_(0.5)
            if isinstance(part, tr.ActNorm):
                part.initialised.fill_(True)


@dataclass(frozen=True)
class Case:
    """How to build a transform, and what fits it.

    of: the exported name that it is a case of.
    event: shape of an event on the base side.
    context: event shape of its context, or None.
    single: whether it is one layer, which must round-trip far away from the data too.
    positive: whether the base side is the positive numbers, not all numbers.
    tolerance: how far, absolutely and relatively, an iterative inverse or an integrator may be off.
    scale: how far a built transform is moved from where it starts.
    outside: the laws it is outside of, each with the reason.
    slow: the laws that take long for it; another case of its kind stands for it in the fast set.
    """

    of: str
    make: Callable[[], FlowTransform]
    event: tuple[int, ...] = (3,)
    context: tuple[int, ...] | None = None
    single: bool = False
    positive: bool = False
    tolerance: float = 0.0
    scale: float = 0.3
    outside: Mapping[str, str] = field(default_factory=dict)
    slow: Collection[str] = ()

    def within(self, tolerance: float) -> dict[str, float]:
        """What `torch.testing.assert_close` takes: this tolerance, or the case's own where it is larger."""
        return {"atol": max(tolerance, self.tolerance), "rtol": max(tolerance, self.tolerance)}

    def build(self, dtype: torch.dtype = torch.float32, *, training: bool = False, seed: int = 0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            transform = self.make()
        perturb(transform, seed, self.scale)
        return transform.to(device(), dtype).train(training)

    @cached_property
    def example(self) -> FlowTransform:
        """A transform to look at and to evaluate, not to change: building takes time."""
        return self.build()

    def noise(self, transform: FlowTransform, batch=(5,), dtype=torch.float32) -> Tensor:
        """A base-side tensor, in the transform's domain."""
        noise = torch.randn((*batch, *self.event), dtype=dtype).to(device())  # the same on every device
        return transform_to(transform.domain)(noise)

    def data_event(self) -> tuple[int, ...]:
        """The shape of an event on the data side."""
        return tuple(self.example.forward_shape(self.event))

    def context_of(self, batch=(5,), dtype=torch.float32) -> Tensor | None:
        if self.context is None:
            return None
        return torch.randn((*batch, *self.context), dtype=dtype).to(device())

    def bound(self, transform: FlowTransform, batch=(5,), dtype=torch.float32) -> FlowTransform:
        """The transform, given a context of its own for each event where it takes one."""
        context = self.context_of(batch, dtype)
        return transform if context is None else transform.condition(context)

    def base(self, dtype=torch.float32):
        like = torch.empty(0, dtype=dtype, device=device())
        if self.positive:  # not a LogNormal: torch makes its inverse in the first call, and a second graph
            return dist.HalfNormal(like.new_ones(self.event), validate_args=False).to_event()
        return dist.Normal(like.new_zeros(self.event), like.new_ones(())).to_event()

    def uneven(self, transform: FlowTransform) -> pf.Flow:
        """A flow from noise that a rotation changes."""
        base = self.base()
        if not self.positive:
            numbers = torch.linspace(0.2, 0.8, math.prod(self.event)).reshape(self.event).to(device())
            base = dist.Normal(numbers, 1 + numbers, validate_args=False).to_event()
        return pf.Flow(transform, base)

    def flow(self, transform: FlowTransform, dtype=torch.float32) -> pf.Flow:
        if self.positive:
            return pf.Flow(transform, self.base(dtype))
        given = transform.domain_shape is None
        like = torch.empty(0, dtype=dtype, device=device())
        return pf.Flow(transform, pf.bases.StandardNormal(self.event, like) if given else None)
