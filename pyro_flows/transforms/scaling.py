"""NICE's diagonal scaling."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ..transform import FlowTransform
from ._features import Features

__all__ = ["DiagonalScaling", "diagonal_scaling"]


class DiagonalScaling(FlowTransform):
    """y = x · exp(s) with one learnable log-scale an element, log|det dy/dx| = Σ s.

    Dinh, Krueger & Bengio, "NICE: Non-linear Independent Components Estimation", 2015,
    arXiv:1410.8516, section 3.3 (whose S is exp(−s), as it scales towards the noise).

    Args:
        size: length of the event vector.

    Raises:
        ValueError: if `size` is less than 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> y, log_det = pf.transforms.DiagonalScaling(3).forward_and_log_det(torch.randn(5, 3))
        >>> y.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    domain = codomain = constraints.real_vector

    reversible = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = Features(size, 1)
        self.domain_shape = self.codomain_shape = Size([size])
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · exp(s) and Σ s."""
        self.features.check(x)
        return x * self.log_scale.exp(), self.features.log_det(x, self.log_scale)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y · exp(−s) and −Σ s."""
        self.features.check(y)
        return y * (-self.log_scale).exp(), self.features.log_det(y, -self.log_scale)


def diagonal_scaling(input_dim: int) -> DiagonalScaling:
    """Return a `DiagonalScaling` of vectors of length `input_dim`."""
    return DiagonalScaling(input_dim)
