"""Eight Gaussians on a circle."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor

from ._plane import PlaneDensity, positive

__all__ = ["EightGaussians"]


class EightGaussians(PlaneDensity):
    r"""p(y) = ⅛ ∑ₖ N(y; R (cos kπ/4, sin kπ/4), σ²).

    The defaults are FFJORD's: a radius of 4 and a standard deviation of 0.5, both over 1.414, for an
    entropy of 2.832 nats.

    Grathwohl et al., "FFJORD: Free-form continuous dynamics for scalable reversible generative
    models", 2019, arXiv:1810.01367.

    Args:
        radius: the distance R of the means from the origin.
        noise: the standard deviation σ of each in either direction.
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        ValueError: if `radius` or `noise` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> gaussians = pf.datasets.EightGaussians()
        >>> gaussians.sample((100,)).shape, gaussians.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(
        self, *, radius: float = 4 / 1.414, noise: float = 0.5 / 1.414, like: Tensor | None = None
    ) -> None:
        positive(radius=radius, noise=noise)
        self.radius, self.noise = radius, noise
        angles = [k * math.pi / 4 for k in range(8)]
        self._means = [(radius * math.cos(a), radius * math.sin(a)) for a in angles]
        super().__init__(like)

    def _draw(self, shape: Size) -> Tensor:
        means = self._like.new_tensor(self._means)
        y = means[torch.randint(8, shape, device=means.device)]
        return torch.add(y, torch.randn_like(y), alpha=self.noise)

    def _log_density(self, y: Tensor) -> Tensor:
        squares = (y.unsqueeze(-2) - y.new_tensor(self._means)).square().sum(-1)
        log_norm = math.log(8 * 2 * math.pi * self.noise**2)
        return (squares / (-2 * self.noise**2)).logsumexp(-1) - log_norm
