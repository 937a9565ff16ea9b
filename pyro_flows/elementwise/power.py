"""Tails by powers: lighter and heavier ones than the noise's, each side by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ._bounded import bounded_exp
from .base import Elementwise

__all__ = ["PowerTails"]


class PowerTails(Elementwise):
    r"""y = ± ((1 + |x|)^p − 1) / p, with one exponent p for x ≥ 0 and another for x < 0.

    Near zero y is x; far out |y| grows as |x|^p. From Gaussian noise p = 1 keeps Gaussian tails, p = 2 makes
    exponential ones, as a scale's posterior has on the left of its logarithm, and p → 0 tails that end as
    abruptly as that logarithm's on the right. The exponents exp(a) are bounded smoothly to (exp(−b), exp(b)).
    2 params: the a of the left and that of the right.

    Yeo & Johnson, "A new family of power transformations to improve normality or symmetry", 2000,
    doi:10.1093/biomet/87.4.954, have one exponent p for x ≥ 0 and 2 − p for x < 0.

    Args:
        max_log_power: the bound b > 0.

    Raises:
        ValueError: if `max_log_power` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> tails, x = pf.elementwise.PowerTails(), torch.randn(5, 3)
        >>> y, log_derivative = tails.forward(x, torch.randn(5, 2, 3))
        >>> y.shape, log_derivative.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    num_params = 2

    def __init__(self, max_log_power: float = 1.5) -> None:
        if not max_log_power > 0:
            raise ValueError(f"expected max_log_power > 0; got {max_log_power}")
        self.max_log_power = float(max_log_power)

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return y and (p − 1) log(1 + |x|)."""
        left, power = self._side(x, params, event_dim)
        log = torch.where(left, -x, x).log1p()  # not |x|, whose gradient at zero is none
        size = torch.expm1(power * log) / power
        return torch.where(left, -size, size), (power - 1) * log

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return ± ((1 + p |y|)^(1/p) − 1) and (1/p − 1) log(1 + p |y|)."""
        left, power = self._side(y, params, event_dim)
        log = torch.log1p(power * torch.where(left, -y, y)) / power
        size = torch.expm1(log)
        return torch.where(left, -size, size), (1 - power) * log

    def _side(self, value: Tensor, params: Tensor, event_dim: int) -> tuple[Tensor, Tensor]:
        below, above = params.unbind(-1 - event_dim)
        left = value < 0
        return left, bounded_exp(torch.where(left, below, above), self.max_log_power)

    def __repr__(self) -> str:
        return f"PowerTails(max_log_power={self.max_log_power})"
