"""The affine map of Real NVP."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Elementwise

__all__ = ["Affine"]


class Affine(Elementwise):
    r"""y = x · exp(s) + t, with log-derivative s = b · tanh(a).

    The raw log-scale a is bounded smoothly to (−b, b), so that no layer stretches by more than
    exp(b) and no gradient is cut off.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803.

    Args:
        max_log_scale: the bound b > 0.

    Raises:
        ValueError: where `max_log_scale` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> affine, x = pf.elementwise.Affine(), torch.randn(5, 3)
        >>> y, log_derivative = affine.forward(x, torch.randn(5, 2, 3))
        >>> y.shape, log_derivative.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    num_params = 2

    def __init__(self, max_log_scale: float = 3.0) -> None:
        if not max_log_scale > 0:
            raise ValueError(f"expected max_log_scale > 0; got {max_log_scale}")
        self.max_log_scale = float(max_log_scale)

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return x · exp(s) + t and s."""
        shift, raw = params.unbind(-1 - event_dim)
        log_scale = torch.tanh(raw) * self.max_log_scale
        return x * log_scale.exp() + shift, log_scale

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return (y − t) · exp(−s) and −s."""
        shift, raw = params.unbind(-1 - event_dim)
        log_scale = torch.tanh(raw) * -self.max_log_scale
        return (y - shift) * log_scale.exp(), log_scale

    def __repr__(self) -> str:
        return f"Affine(max_log_scale={self.max_log_scale})"
