"""The additive map of NICE."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Elementwise

__all__ = ["Additive"]


class Additive(Elementwise):
    """y = x + t, with log-derivative 0.

    Dinh, Krueger & Bengio, "NICE: Non-linear Independent Components Estimation", 2015,
    arXiv:1410.8516.

    Example:
        >>> import torch, pyro_flows as pf
        >>> y, log_derivative = pf.elementwise.Additive().forward(torch.zeros(5, 3), torch.ones(5, 1, 3))
        >>> bool((y == 1).all()), bool((log_derivative == 0).all())
        (True, True)
    """

    num_params = 1

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return x + t and zeros."""
        y = x + params.squeeze(-1 - event_dim)
        return y, torch.zeros_like(y)

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return y − t and zeros."""
        x = y - params.squeeze(-1 - event_dim)
        return x, torch.zeros_like(x)
