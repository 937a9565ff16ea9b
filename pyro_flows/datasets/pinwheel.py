"""Gaussian blades, twisted."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor

from ._plane import PlaneDensity

__all__ = ["Pinwheel"]


class Pinwheel(PlaneDensity):
    r"""y = T(x), x ~ 1/K ∑ₖ N(x; Rₖ (2, 0), Rₖ diag(0.6², 0.2²) Rₖᵀ): blades, twisted about the origin.

    Rₖ turns by 2πk/K, and T turns each point by an angle proportional to its distance from the origin.
    T moves every circle along itself, so its Jacobian is one and p(y) = p(T⁻¹(y)) exactly. (The
    pinwheel of the literature twists by one Cartesian coordinate, which doesn't keep areas.)

    Johnson et al., "Composing graphical models with neural networks for structured representations
    and fast inference", 2016, arXiv:1603.06277.

    Args:
        blades: their number K.
        twist: the angle T turns by, in radians per unit of distance.
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        ValueError: if `blades` is not positive, or `twist` not finite.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pinwheel = pf.datasets.Pinwheel(blades=3)
        >>> pinwheel.sample((100,)).shape, pinwheel.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(self, *, blades: int = 5, twist: float = 0.8, like: Tensor | None = None) -> None:
        if blades < 1:
            raise ValueError(f"expected blades ≥ 1; got {blades}")
        if not math.isfinite(twist):
            raise ValueError(f"expected a finite twist; got {twist}")
        self.blades, self.twist = blades, twist
        super().__init__(like)

    def _draw(self, shape: Size) -> Tensor:
        blade = torch.randint(self.blades, shape, device=self._like.device).to(self._like)
        noise = torch.randn((*shape, 2), dtype=blade.dtype, device=blade.device)
        x = noise * noise.new_tensor(_SCALE) + noise.new_tensor((_DISTANCE, 0.0))
        return _rotate(x, blade * (2 * math.pi / self.blades) + self.twist * _norm(x))

    def _log_density(self, y: Tensor) -> Tensor:
        k = torch.arange(self.blades, dtype=y.dtype, device=y.device)
        angle = k * (2 * math.pi / self.blades) + self.twist * _norm(y).unsqueeze(-1)
        blades = _rotate(y.unsqueeze(-2), -angle)  # turned back onto the first blade
        standard = (blades - y.new_tensor((_DISTANCE, 0.0))) / y.new_tensor(_SCALE)
        log_norm = math.log(self.blades * 2 * math.pi * math.prod(_SCALE))
        return (standard.square().sum(-1) * -0.5).logsumexp(-1) - log_norm


_DISTANCE = 2.0
_SCALE = (0.6, 0.2)  # along the blade and across it


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1)


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    first, second = x.unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1)
