"""What a law is applied to: how to build a transform, and inputs that fit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints, transform_to

from ..bases import StandardNormal
from ..flow import Flow
from ..nn import RunningMoments
from ..transform import FlowTransform
from ..transforms import ActNorm
from ..transforms.placing import is_real

__all__ = ["Case", "perturb"]


def perturb(module: nn.Module, seed: int = 0, scale: float = 0.3) -> None:
    """Move parameters and running statistics by normal noise, away from where a new layer is the identity."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like) * scale

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(noise(parameter))
        for part in module.modules():
            if isinstance(part, RunningMoments):
                part.mean += noise(part.mean)
                part.variance *= noise(part.variance).exp()
                part.weight.fill_(0.5)
            if isinstance(part, ActNorm):
                part.initialised.fill_(True)


@dataclass(frozen=True)
class Case:
    """How to build a transform, and what fits it.

    Args:
        of: the transform's name.
        make: returns a new transform.
        event: shape of an event on the base side.
        context: event shape of its context, or None.
        single: whether it is one layer, which must round-trip far away from the data too.
        tolerance: the error, absolute and relative, that an iterative inverse or an integrator may have.
        scale: standard deviation of the noise that is added to the parameters of a new transform.
        outside: the laws that do not apply to it, each with the reason.
        device: where transforms and inputs are.
    """

    of: str
    make: Callable[[], FlowTransform]
    event: tuple[int, ...] = (3,)
    context: tuple[int, ...] | None = None
    single: bool = False
    tolerance: float = 0.0
    scale: float = 0.3
    outside: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"

    def within(self, tolerance: float) -> dict[str, Any]:
        """Return `tolerance`, or the case's own if larger, as keywords of `torch.testing.assert_close`."""
        return {"atol": max(tolerance, self.tolerance), "rtol": max(tolerance, self.tolerance)}

    def build(
        self, dtype: torch.dtype = torch.float32, *, training: bool = False, seed: int = 0
    ) -> FlowTransform:
        """Return a new transform with perturbed parameters."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            transform = self.make()
        perturb(transform, seed, self.scale)
        return transform.to(self.device, dtype).train(training)

    @cached_property
    def example(self) -> FlowTransform:
        """A transform to look at and to evaluate, not to change: building takes time."""
        return self.build()

    def noise(
        self, transform: FlowTransform, batch: tuple[int, ...] = (5,), dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return a base-side tensor, in the transform's domain."""
        noise = torch.randn((*batch, *self.event), dtype=dtype).to(self.device)  # the same on every device
        return transform_to(transform.domain)(noise)

    def data_event(self) -> tuple[int, ...]:
        """Return the shape of an event on the data side."""
        return tuple(self.example.forward_shape(self.event))

    def context_of(self, batch: tuple[int, ...] = (5,), dtype: torch.dtype = torch.float32) -> Tensor | None:
        """Return a random context for each event of the batch, or None."""
        if self.context is None:
            return None
        return torch.randn((*batch, *self.context), dtype=dtype).to(self.device)

    def sample_shape(self, context: Tensor | None, batch: tuple[int, ...] = (5,)) -> tuple[int, ...]:
        """Return the sample shape that gives `batch` events: none if the context has that batch shape."""
        return () if context is not None else batch

    def bound(
        self, transform: FlowTransform, batch: tuple[int, ...] = (5,), dtype: torch.dtype = torch.float32
    ) -> FlowTransform:
        """Return the transform, conditioned on one context for each event if it takes one."""
        context = self.context_of(batch, dtype)
        return transform if context is None else transform.condition(context)

    def base(self, dtype: torch.dtype = torch.float32) -> Distribution:
        """Return a distribution on the transform's domain."""
        like = torch.empty(0, dtype=dtype, device=self.device)
        if self._is_real:
            return dist.Normal(like.new_zeros(self.event), like.new_ones(())).to_event()
        # Not a LogNormal: torch makes its inverse in the first call, and a second graph.
        return dist.HalfNormal(like.new_ones(self.event), validate_args=False).to_event()

    def uneven(self, transform: FlowTransform) -> Flow:
        """Return a flow whose base is not invariant under rotations."""
        base = self.base()
        if self._is_real:
            numbers = torch.linspace(0.2, 0.8, math.prod(self.event)).reshape(self.event).to(self.device)
            base = dist.Normal(numbers, 1 + numbers, validate_args=False).to_event()
        return Flow(transform, base)

    def flow(self, transform: FlowTransform, dtype: torch.dtype = torch.float32) -> Flow:
        """Return a flow of the transform."""
        if not self._is_real:
            return Flow(transform, self.base(dtype))
        like = torch.empty(0, dtype=dtype, device=self.device)
        return Flow(transform, StandardNormal(self.event, like) if transform.domain_shape is None else None)

    @cached_property
    def _is_real(self) -> bool:
        domain = self.example.domain
        if is_real(domain):
            return True
        while isinstance(domain, constraints.independent):
            domain = domain.base_constraint
        if getattr(domain, "lower_bound", None) != 0 or hasattr(domain, "upper_bound"):
            raise ValueError(f"expected a domain of all numbers or of positive ones; got {domain}")
        return False
