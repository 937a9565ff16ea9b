"""Half circles with Gaussian noise, from which moons and spirals are made."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Size, Tensor

__all__ = ["HalfCircle", "HalfCircles"]

_NODES = 32  # to float64's precision for integrands that fall monotonically from 1 to exp(−_REACH)
_REACH = 40.0


class HalfCircle(NamedTuple):
    """The points (x, y) + side · radius · (cos t, sin t), 0 ≤ t ≤ π: upper for side 1, lower for −1."""

    x: float
    y: float
    radius: float
    side: float


class HalfCircles:
    r"""p(y) = ∑ₖ wₖ/π ∫₀^π N(y; cₖ + sₖ Rₖ (cos t, sin t), σ²) dt, with weights wₖ ∝ Rₖ.

    Points lie uniformly along the arcs. The integrand is exp(−κ (1 − cos(t − φ))) up to a factor, where
    φ is the angle of the point as seen from the centre and κ = r R / σ². It falls monotonically away
    from its highest place on the arc (φ, or an end) in at most two pieces; Gauss–Legendre quadrature on
    the stretch of each where it exceeds exp(−40) is exact to float64's precision, whatever the noise
    and however far the point. Nodes are held fixed in derivatives, which are as exact: the integral does
    not depend on them.

    Args:
        arcs: the half circles.
        noise: the standard deviation σ of the noise in either direction.
    """

    def __init__(self, arcs: Sequence[HalfCircle], noise: float) -> None:
        self.arcs, self.noise = tuple(arcs), noise

    def draw(self, shape: Size, like: Tensor) -> Tensor:
        """Return points of shape (*shape, 2), with the dtype and device of `like`."""
        arcs = like.new_tensor(self.arcs)
        radii = arcs[:, 2]
        ends = (radii.cumsum(0) / radii.sum())[:-1]
        uniform = torch.rand((2, *shape), dtype=like.dtype, device=like.device)
        centre, radius, side = arcs[torch.bucketize(uniform[0], ends)].split([2, 1, 1], -1)
        t = math.pi * uniform[1]
        y = centre + side * radius * torch.stack([t.cos(), t.sin()], -1)
        return torch.add(y, torch.randn_like(y), alpha=self.noise)

    def log_density(self, y: Tensor) -> Tensor:
        """Return log p(y), of shape (*n,), for points of shape (*n, 2)."""
        arcs = y.new_tensor(self.arcs)
        radius = arcs[:, 2]
        local = (y.unsqueeze(-2) - arcs[:, :2]) * arcs[:, 3:]  # every arc centred, and turned up
        t, log_weight = self._nodes(local.detach(), radius)
        local_x, local_y = local[..., None, None].unbind(-3)
        ring = radius[:, None, None]
        squares = (local_x - ring * t.cos()).square() + (local_y - ring * t.sin()).square()
        each = (log_weight - squares / (2 * self.noise**2)).flatten(-2).logsumexp(-1)
        log_mixture = (radius / radius.sum()).log()
        return (each + log_mixture).logsumexp(-1) - math.log(2 * math.pi**2 * self.noise**2)

    def _nodes(self, local: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Return angles and log-weights, of shape (*n, arcs, 2, nodes), for points of shape (*n, arcs, 2)."""
        x, y = local.unbind(-1)
        angle = torch.atan2(y, x)
        below = angle < 0
        # Each piece starts at t = `start`, an angle of `low` off the peak, and spans `length`.
        start = torch.stack([angle.clamp(min=0), torch.where(below, math.pi, angle)], -1)
        low = torch.stack([(-angle).clamp(min=0), torch.where(below, math.pi + angle, 0.0)], -1)
        length = torch.stack([math.pi - angle.abs(), angle.abs()], -1)
        # It reaches to u where κ (cos low − cos u) = _REACH, that is sin²(u/2) = sin²(low/2) + drop,
        # or to the arc's end. The difference u − low is found without cancellation.
        sin_low, cos_low = (low / 2).sin(), (low / 2).cos()
        drop = 0.5 * _REACH * self.noise**2 / (torch.hypot(x, y) * radius)
        drop = torch.minimum(drop.unsqueeze(-1), cos_low.square())
        sin_high = (sin_low.square() + drop).sqrt()
        cos_high = (cos_low.square() - drop).sqrt()
        cosine = cos_high * cos_low + sin_high * sin_low
        reach = 2 * torch.atan2(drop, (sin_high * cos_low + sin_low * cos_high) * cosine)
        reach = torch.minimum(reach, length).unsqueeze(-1)
        nodes, weights = (values.to(local) for values in gauss_legendre(_NODES))
        direction = local.new_tensor([[1.0], [-1.0]])
        return start.unsqueeze(-1) + direction * reach * nodes, (reach * weights).log()


@functools.lru_cache
def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of n-point Gauss–Legendre quadrature on [0, 1] (Golub & Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    off_diagonal = torch.diag(k / (4 * k.square() - 1).sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(off_diagonal + off_diagonal.mT)
    return (nodes + 1) / 2, vectors[0].square()
