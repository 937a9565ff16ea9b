"""Triangular matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Matrix

__all__ = ["Triangular"]


class Triangular(Matrix):
    r"""A_ij free below the diagonal, A_ii = exp(a_i), zero above it; log|det A| = Σ a_i.

    Starts at the identity, with size · (size + 1) / 2 parameters. As the A of y = A x + b it makes
    standard normal noise a Gaussian with any covariance A Aᵀ.

    Args:
        size: number of rows and of columns.
        upper: free above the diagonal and zero below it instead.

    Raises:
        ValueError: if `size` is less than 1.

    Example:
        >>> import pyro_flows as pf
        >>> pf.matrices.Triangular(3)().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    places: Tensor

    def __init__(self, size: int, *, upper: bool = False) -> None:
        super().__init__(size)
        self.upper = upper
        rows, columns = torch.triu_indices(size, size) if upper else torch.tril_indices(size, size)
        self.register_buffer("places", rows * size + columns, persistent=False)
        self.packed = nn.Parameter(torch.zeros(len(rows)))  # row by row; a_i on the diagonal

    def forward(self) -> Tensor:
        """Return A."""
        raw = self._raw()
        strict = raw.triu(1) if self.upper else raw.tril(-1)
        return strict + raw.diagonal().exp().diag_embed()

    def solve(self, b: Tensor) -> Tensor:
        """Return A⁻¹ b by substitution."""
        return torch.linalg.solve_triangular(self(), b, upper=self.upper)

    def log_det(self) -> Tensor:
        """Return Σ a_i."""
        return self._raw().diagonal().sum()

    def _raw(self) -> Tensor:
        flat = self.packed.new_zeros(self.size * self.size).scatter(0, self.places, self.packed)
        return flat.unflatten(0, (self.size, self.size))

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.size}, upper={self.upper}"
