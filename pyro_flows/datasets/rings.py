"""Concentric circles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor

from ._plane import PlaneDensity, positive

__all__ = ["Rings"]


class Rings(PlaneDensity):
    r"""p(y) = 1/K ∑ₖ exp(−(r² + Rₖ²) / 2σ²) I₀(r Rₖ / σ²) / 2πσ², with r = ‖y‖.

    One of K circles about the origin, a uniform point on it, and Gaussian noise. I₀ is the modified
    Bessel function.

    Args:
        radii: the radii Rₖ of the circles, equally likely.
        noise: the standard deviation σ of the noise in either direction.
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        ValueError: if there are no radii, or one of them or `noise` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> rings = pf.datasets.Rings(radii=(1.0, 2.0))
        >>> rings.sample((100,)).shape, rings.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        *,
        radii: Sequence[float] = (0.75, 1.5, 2.25, 3.0),
        noise: float = 0.1,
        like: Tensor | None = None,
    ) -> None:
        if len(radii) == 0:
            raise ValueError("expected at least one of radii; got none")
        for radius in radii:
            positive(radii=radius)
        positive(noise=noise)
        self.radii, self.noise = tuple(radii), noise
        super().__init__(like)

    def _draw(self, shape: Size) -> Tensor:
        radii = self._like.new_tensor(self.radii)
        radius = radii[torch.randint(len(radii), shape, device=radii.device)]
        t = 2 * math.pi * torch.rand_like(radius)
        y = radius.unsqueeze(-1) * torch.stack([t.cos(), t.sin()], -1)
        return torch.add(y, torch.randn_like(y), alpha=self.noise)

    def _log_density(self, y: Tensor) -> Tensor:
        radii = y.new_tensor(self.radii)
        r = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        # I₀ less its exponential growth, which completes the square
        log_bessel = torch.special.i0e(r * radii / self.noise**2).log()
        each = log_bessel - (r - radii).square() / (2 * self.noise**2)
        return each.logsumexp(-1) - math.log(len(radii) * 2 * math.pi * self.noise**2)
