"""The affine map of Real NVP."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Elementwise

__all__ = ["Affine"]


class Affine(Elementwise):
    r"""x = y · exp(s) + t towards the noise, so y = (x − t) · exp(−s), with s = a / (1 + |a| / b).

    The raw log-scale a is bounded smoothly to (−b, b), so that no layer stretches or shrinks by more
    than exp(b) and no gradient is cut off: s is a where it is small, and its derivative, 1 / (1 + |a| / b)²,
    is continuous. The log-derivative of the map from x to y is −s.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803: the
    paper's map leads from data to noise too.

    Args:
        max_log_scale: the bound b > 0.

    Raises:
        ValueError: if `max_log_scale` is not positive.

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
        """Return (x − t) · exp(−s) and −s."""
        shift, raw = params.unbind(-1 - event_dim)
        negated = self._log_scale(raw, -1.0)
        return (x - shift) * negated.exp(), negated

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return y · exp(s) + t and s."""
        shift, raw = params.unbind(-1 - event_dim)
        log_scale = self._log_scale(raw, 1.0)
        return torch.addcmul(shift, y, log_scale.exp()), log_scale

    def _log_scale(self, raw: Tensor, sign: float) -> Tensor:
        # ± a / (1 + |a| / b), in as few passes as there are operations.
        return raw / torch.rsub(raw.abs(), sign, alpha=-sign / self.max_log_scale)

    def __repr__(self) -> str:
        return f"Affine(max_log_scale={self.max_log_scale})"
