"""Two intertwined spirals."""

from __future__ import annotations

from torch import Size, Tensor

from ._plane import PlaneDensity, positive
from .half_circles import HalfCircle, HalfCircles

__all__ = ["Spirals"]


class Spirals(PlaneDensity):
    r"""y = arm + σ ε: uniform along two arms of half circles with radii d/2, 3d/2, 5d/2, ….

    Either arm leaves the origin and crosses the horizontal axis at d, −2d, 3d, …; the other is its
    point reflection. The half circles join smoothly into what is nearly the Archimedean spiral
    r = d t / π, and make the density an integral along arcs that is exact to float precision.

    Args:
        noise: the standard deviation σ of the noise in either direction.
        spacing: the distance d between neighbouring arms.
        half_turns: how many half circles make an arm.
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        ValueError: if `noise`, `spacing` or `half_turns` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> spirals = pf.datasets.Spirals(noise=0.1, half_turns=4)
        >>> spirals.sample((100,)).shape, spirals.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        noise: float = 0.1,
        *,
        spacing: float = 1.0,
        half_turns: int = 3,
        like: Tensor | None = None,
    ) -> None:
        positive(noise=noise, spacing=spacing)
        if half_turns < 1:
            raise ValueError(f"expected half_turns ≥ 1; got {half_turns}")
        self.noise, self.spacing, self.half_turns = noise, spacing, half_turns
        arcs = []
        for arm in (1.0, -1.0):
            for turn in range(half_turns):
                side = arm * (-1.0) ** turn
                arcs.append(HalfCircle(side * spacing / 2, 0.0, (turn + 0.5) * spacing, side))
        self._curve = HalfCircles(arcs, noise)
        super().__init__(like)

    def _draw(self, shape: Size) -> Tensor:
        return self._curve.draw(shape, self._like)

    def _log_density(self, y: Tensor) -> Tensor:
        return self._curve.log_density(y)
