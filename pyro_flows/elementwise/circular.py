"""The rational-quadratic spline of angles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._bounded import bounded_exp
from .base import Elementwise
from .spline import bin_sizes, rational_quadratic

__all__ = ["CircularRationalQuadratic"]


class CircularRationalQuadratic(Elementwise):
    r"""y = a monotone spline of K bins that maps [−π, π] onto itself and joins smoothly at ±π.

    Beyond [−π, π] it goes on periodically, g(x + 2π) = g(x) + 2π, so that any angle is welcome. The
    point ±π stays where it is; other layers (a shift, say) may move it. 3K params: K widths, K
    heights and the logarithms of K slopes, the first of which holds at both ends.

    Rezende et al., "Normalizing Flows on Tori and Spheres", 2020, arXiv:2002.02428, section 2.1.2.

    Args:
        bins: K, at least 2.
        min_size: the least width and height, as a fraction of 2π, below 1 / K.
        min_slope: slopes at knots lie within (min_slope, 1 / min_slope).

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> spline, params = pf.elementwise.CircularRationalQuadratic(4), torch.randn(5, 12, 1)
        >>> ends, _ = spline.forward(torch.full((5, 1), torch.pi), params)
        >>> bool((ends - torch.pi).abs().max() < 1e-5)
        True
    """

    def __init__(self, bins: int = 8, *, min_size: float = 1e-3, min_slope: float = 1e-3) -> None:
        if bins < 2 or not (0 < min_size * bins < 1 and 0 < min_slope < 1):
            raise ValueError(
                f"expected bins ≥ 2, min_size within (0, 1 / bins) and min_slope within (0, 1); got {bins}, "
                f"{min_size} and {min_slope}"
            )
        self.bins, self.min_size, self.min_slope = bins, min_size, min_slope
        self.num_params = 3 * bins

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the spline at x and its log-derivative."""
        return self._map(x, params, -1 - event_dim, inverse=False)

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the inverse spline at y and its log-derivative."""
        return self._map(y, params, -1 - event_dim, inverse=True)

    def _map(self, value: Tensor, params: Tensor, dim: int, *, inverse: bool) -> tuple[Tensor, Tensor]:
        raw_sizes, raw_slopes = params.split([2 * self.bins, self.bins], dim)
        sizes = bin_sizes(raw_sizes.unflatten(dim, (2, self.bins)), 2 * math.pi, self.min_size, dim)
        slopes = bounded_exp(raw_slopes, -math.log(self.min_slope))
        slopes = torch.cat((slopes, slopes.narrow(dim, 0, 1)), dim)
        turns = torch.floor((value + math.pi) / (2 * math.pi)) * (2 * math.pi)
        moved, log_slope = rational_quadratic(value - turns, sizes, slopes, -math.pi, dim, inverse=inverse)
        return moved + turns, log_slope

    def __repr__(self) -> str:
        return f"CircularRationalQuadratic({self.bins})"
