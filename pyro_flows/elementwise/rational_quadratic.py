"""The rational-quadratic spline of neural spline flows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._bounded import bounded_exp
from .base import Elementwise
from .spline import bin_sizes, rational_quadratic

__all__ = ["RationalQuadratic"]


class RationalQuadratic(Elementwise):
    r"""y = a monotone spline of K rational-quadratic bins within [−B, B], y = x outside.

    Widths, heights and inner slopes are free; the outer slopes are 1, so that the tails join
    smoothly. The inverse has a closed form too. 3K − 1 params: K widths, K heights (both through a softmax)
    and the logarithms of K − 1 slopes, bounded smoothly.

    Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows", 2019, arXiv:1906.04032.

    Args:
        bins: K, at least 2.
        bound: B > 0.
        min_size: the least width and height, as a fraction of 2B, below 1 / K.
        min_slope: slopes at knots lie within (min_slope, 1 / min_slope).

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> spline, x = pf.elementwise.RationalQuadratic(), torch.randn(5, 3)
        >>> y, log_derivative = spline.forward(x, torch.randn(5, spline.num_params, 3))
        >>> y.shape, log_derivative.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(
        self, bins: int = 8, bound: float = 5.0, *, min_size: float = 1e-3, min_slope: float = 1e-3
    ) -> None:
        if bins < 2 or not bound > 0:
            raise ValueError(f"expected bins ≥ 2 and bound > 0; got {bins} and {bound}")
        if not (0 < min_size * bins < 1 and 0 < min_slope < 1):
            raise ValueError(
                f"expected min_size within (0, 1 / bins) and min_slope within (0, 1); got {min_size} and "
                f"{min_slope} for {bins} bins"
            )
        self.bins, self.bound = bins, float(bound)
        self.min_size, self.min_slope = min_size, min_slope
        self.num_params = 3 * bins - 1

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the spline at x and its log-derivative."""
        return self._map(x, params, -1 - event_dim, inverse=False)

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the inverse spline at y and its log-derivative."""
        return self._map(y, params, -1 - event_dim, inverse=True)

    def _map(self, value: Tensor, params: Tensor, dim: int, *, inverse: bool) -> tuple[Tensor, Tensor]:
        raw_sizes, raw_slopes = params.split([2 * self.bins, self.bins - 1], dim)
        sizes = bin_sizes(raw_sizes.unflatten(dim, (2, self.bins)), 2 * self.bound, self.min_size, dim)
        inner = bounded_exp(raw_slopes, -math.log(self.min_slope))
        one = torch.ones_like(inner.narrow(dim, 0, 1))
        slopes = torch.cat((one, inner, one), dim)
        # A NaN is not within, and goes through unchanged. Outside, the spline is evaluated at 0, so that
        # no gradient there is a NaN.
        within = value.abs() <= self.bound
        moved, log_slope = rational_quadratic(
            torch.where(within, value, 0), sizes, slopes, -self.bound, dim, inverse=inverse
        )
        return torch.where(within, moved, value), torch.where(within, log_slope, 0)

    def __repr__(self) -> str:
        return f"RationalQuadratic({self.bins}, {self.bound})"
