"""Base distributions, as modules: their parameters are learned, or follow `.to()`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import constraints, transform_to

from ._standard import StandardBase, StandardLogistic, StandardNormal

__all__ = [
    "Base",
    "Mixture",
    "StandardLogistic",
    "StandardNormal",
    "Tempered",
    "beta",
    "diagonal_normal",
    "logistic",
    "uniform",
]


class Base(nn.Module):
    """A distribution of any Pyro family whose parameters belong to a module.

    Calling it returns ``family(**parameters)``, with all dimensions of the parameters as event
    dimensions. Learned parameters live in unconstrained space.

    Args:
        family: a class of `pyro.distributions`.
        learn: whether the parameters are learned, or only follow dtype and device.
        parameters: the family's arguments, tensors that broadcast to the event's shape.

    Example:
        >>> import torch, pyro.distributions as dist, pyro_flows as pf
        >>> base = pf.bases.Base(dist.Laplace, loc=torch.zeros(3), scale=torch.ones(3))
        >>> base().event_shape, sorted(name for name, _ in base.named_parameters())
        (torch.Size([3]), ['loc', 'scale'])
    """

    def __init__(self, family: type[TorchDistribution], *, learn: bool = True, **parameters: Tensor) -> None:
        super().__init__()
        self.family, self.names = family, list(parameters)
        checks = "validate_args" in inspect.signature(family.__init__).parameters
        self._unchecked = {"validate_args": False} if checks else {}
        for name, value in parameters.items():
            unconstrained = transform_to(self._constraint(name)).inv(value).detach().clone()
            if learn:
                self.register_parameter(name, nn.Parameter(unconstrained))
            else:
                self.register_buffer(name, unconstrained)

    def _constraint(self, name: str) -> constraints.Constraint:
        # If constraints depend on each other, as Uniform's do, the family has a property in their place.
        known = self.family.arg_constraints
        constraint = known[name] if isinstance(known, dict) else constraints.dependent
        return constraints.real if constraints.is_dependent(constraint) else constraint

    def forward(self) -> dist.TorchDistribution:
        """Return the distribution with the present parameters."""
        values = {name: transform_to(self._constraint(name))(getattr(self, name)) for name in self.names}
        return self.family(**values, **self._unchecked).to_event()


def diagonal_normal(event_shape: Sequence[int] | int) -> Base:
    """Return a normal base with a learned mean and scale for each element."""
    shape = _shape(event_shape)
    return Base(dist.Normal, loc=torch.zeros(shape), scale=torch.ones(shape))


def logistic(event_shape: Sequence[int] | int, *, learn: bool = False) -> nn.Module:
    """Return a standard logistic base, as NICE uses (Dinh et al. 2015, arXiv:1410.8516, section 3.4)."""
    shape = _shape(event_shape)
    if not learn:
        return StandardBase(StandardLogistic, shape, torch.empty(0))
    return Base(dist.Logistic, loc=torch.zeros(shape), scale=torch.ones(shape))


def uniform(event_shape: Sequence[int] | int, low: float = 0.0, high: float = 1.0) -> Base:
    """Return a uniform base on [low, high) for each element."""
    shape = _shape(event_shape)
    return Base(dist.Uniform, learn=False, low=torch.full(shape, low), high=torch.full(shape, high))


def beta(event_shape: Sequence[int] | int, a: float = 5.0, b: float = 5.0, *, learn: bool = False) -> Base:
    """Return a Beta(a, b) base for each element."""
    shape = _shape(event_shape)
    return Base(
        dist.Beta, learn=learn, concentration1=torch.full(shape, a), concentration0=torch.full(shape, b)
    )


class Tempered(nn.Module):
    r"""x = μ + T (x′ − μ), x′ ~ base with mean μ: the base with its spread scaled by the temperature T.

    With T < 1 a flow's samples are more typical and less varied; `Flow.tempered` returns such a flow.
    Kingma & Dhariwal 2018, arXiv:1807.03039, section 5.

    Args:
        base: a module that returns a distribution with a mean when called; shared.
        temperature: T > 0.

    Raises:
        ValueError: if `temperature` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> base = pf.bases.Tempered(pf.bases.logistic(3), 0.5)
        >>> base().sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, base: nn.Module, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"expected a temperature > 0; got {temperature}")
        self.base, self.temperature = base, temperature

    def forward(self) -> dist.TransformedDistribution:
        """Return the distribution with the base's present parameters."""
        base = self.base()
        scaled = dist.transforms.AffineTransform(
            base.mean * (1 - self.temperature), self.temperature, event_dim=len(base.event_shape)
        )
        return dist.TransformedDistribution(base, [scaled], validate_args=False)


class Mixture(nn.Module):
    """A learned mixture of diagonal normals, Σ_k w_k N(x; μ_k, diag σ_k²); samples carry no gradient.

    Args:
        dim: length of the event vector.
        components: number of normals. Means start at standard normal draws, scales at one, weights
            equal.
        generator: source of the draws; torch's global one if None.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pf.bases.Mixture(3, components=4)().sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, dim: int, components: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn(components, dim, generator=generator))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self) -> dist.MixtureSameFamily:
        """Return the mixture with the present parameters."""
        normals = dist.Normal(self.loc, self.log_scale.exp(), validate_args=False).to_event(1)
        weights = dist.Categorical(logits=self.logits, validate_args=False)
        return dist.MixtureSameFamily(weights, normals, validate_args=False)


def _shape(event_shape: Sequence[int] | int) -> Size:
    return Size([event_shape] if isinstance(event_shape, int) else event_shape)
