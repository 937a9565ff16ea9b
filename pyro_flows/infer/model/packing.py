"""Latent sites as slices of an unconstrained vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Size, Tensor
from torch.distributions import Transform, VonMises, biject_to, constraints

from .program import Site, how_to_sum_out, known_support

__all__ = ["PackedSite", "bijection_of", "length", "support_of", "unpack"]

_IDENTITY = biject_to(constraints.real)
_PERIODIC = (VonMises, dist.SineBivariateVonMises, dist.SineSkewed)


def support_of(site: Site) -> constraints.Constraint:
    """Return a site's support, or raise a ValueError if its distribution does not tell."""
    if (support := known_support(site["fn"])) is None:
        raise _not_mapped(site, "has no support")
    return support


def bijection_of(site: Site) -> Transform:
    """Return the map from unconstrained space to a site's support, or raise a ValueError if there is none."""
    fn = site["fn"]
    while not isinstance(fn, _PERIODIC) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if isinstance(fn, _PERIODIC):  # real by its support, but with no normalised density over all real numbers
        raise ValueError(
            f"expected latent sites with a density over their support; got {site['name']!r}, whose "
            f"{type(fn).__name__} repeats every 2π: draw each angle from Uniform(-math.pi, math.pi), and add "
            f"{type(fn).__name__}(…).log_prob of it, plus log 2π an angle, by pyro.factor"
        )
    try:
        return biject_to(support_of(site))
    except NotImplementedError as error:
        raise _not_mapped(site, "has a support without a bijection") from error


def _not_mapped(site: Site, problem: str) -> ValueError:
    return ValueError(
        "expected latent sites that torch.distributions.biject_to can map to unconstrained space; got "
        f"{site['name']!r}, whose {type(site['fn']).__name__} {problem}: reparameterise it "
        "(pyro.infer.reparam), or hide it (pyro.poutine.block) and write its guide by hand"
    )


class PackedSite(NamedTuple):
    """How a site's value x follows from a slice of a vector u."""

    name: str
    shape: Size
    """Of x."""
    unconstrained: Size
    """Of the slice."""
    event_dim: int
    """Of x."""
    transform: Transform
    elementwise: bool

    @classmethod
    def of(cls, site: Site, lead: int = 0) -> PackedSite:
        """Describe a site of a trace.

        Args:
            site: a latent sample site.
            lead: the number of leading dimensions that the vectors have too, such as a plate's.

        Raises:
            ValueError: if it is discrete.
        """
        fn, name, value = site["fn"], site["name"], site["value"]
        if support_of(site).is_discrete:
            raise ValueError(
                f"expected continuous latent sites; got the discrete {name!r}{how_to_sum_out(site)}"
            )
        transform = bijection_of(site)
        inner = fn.support
        while isinstance(inner, constraints.independent):
            inner = inner.base_constraint
        unconstrained = transform.inv(value).shape
        if isinstance(inner, type(constraints.real)):
            transform = _IDENTITY
        elementwise = inner.event_dim == 0
        return cls(name, value.shape[lead:], unconstrained[lead:], fn.event_dim, transform, elementwise)

    @property
    def length(self) -> int:
        """The slice's length."""
        return math.prod(self.unconstrained)

    def log_det(self, u: Tensor, x: Tensor, batch_dim: int) -> Tensor | None:
        """Return log|det dx/du| over the first `batch_dim` dimensions; None if it is zero."""
        if self.transform is _IDENTITY:
            return None
        log_det = self.transform.log_abs_det_jacobian(u, x)
        total: Tensor = sum_rightmost(log_det, log_det.dim() - batch_dim)
        return total

    def same_support(self, other: PackedSite, like: Tensor) -> bool:
        """Whether another site has the same support, as far as its bijection tells."""
        if self.transform is _IDENTITY:
            return True
        probe = torch.linspace(-1, 1, self.length, dtype=like.dtype, device=like.device)
        probe = probe.reshape(self.unconstrained)
        return torch.allclose(self.transform(probe), other.transform(probe))


def length(sites: Sequence[PackedSite]) -> int:
    """Return the length of the vector."""
    return sum(site.length for site in sites)


def unpack(
    sites: Sequence[PackedSite], u: Tensor, nesting: int = 0
) -> Iterator[tuple[PackedSite, Tensor, Tensor | None]]:
    """Yield each site, its value x and log|det dx/du| (None if zero), from vectors u.

    Args:
        sites: in the order of their slices.
        u: of shape (*batch, d).
        nesting: the least number of dimensions between batch and event in a value; those missing are of
            size 1.
    """
    start = 0
    batch = u.shape[:-1]
    for site in sites:
        stop = start + site.length
        missing = nesting + site.event_dim - len(site.shape) if nesting else 0
        shape = Size([1] * missing) + site.unconstrained if missing > 0 else site.unconstrained
        part = u[..., start:stop].reshape(batch + shape)
        value = site.transform(part)
        yield site, value, site.log_det(part, value, len(batch))
        start = stop
