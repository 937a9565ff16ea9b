"""Two interleaving half circles."""

from __future__ import annotations

from torch import Size, Tensor

from ._plane import PlaneDensity, positive
from .half_circles import HalfCircle, HalfCircles

__all__ = ["TwoMoons"]


class TwoMoons(PlaneDensity):
    r"""y = arc + σ ε: an upper half circle about (0, 0) or a lower one about (1, ½), of radius 1.

    The geometry of scikit-learn's ``make_moons``. The density is an integral along the arcs, exact to
    float precision; its entropy is 0.289, 1.008 and 1.677 nats for σ of 0.05, 0.1 and 0.2.

    Args:
        noise: the standard deviation σ of the noise in either direction.
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        ValueError: if `noise` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> moons = pf.datasets.TwoMoons(noise=0.05)
        >>> moons.sample((100,)).shape, moons.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(self, noise: float = 0.1, *, like: Tensor | None = None) -> None:
        positive(noise=noise)
        self.noise = noise
        self._curve = HalfCircles([HalfCircle(0.0, 0.0, 1.0, 1.0), HalfCircle(1.0, 0.5, 1.0, -1.0)], noise)
        super().__init__(like)

    def _draw(self, shape: Size) -> Tensor:
        return self._curve.draw(shape, self._like)

    def _log_density(self, y: Tensor) -> Tensor:
        return self._curve.log_density(y)
