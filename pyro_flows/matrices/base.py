"""The contract of a matrix."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Matrix", "random_rotation"]


class Matrix(nn.Module):
    """An invertible matrix A of shape (size, size) that is always invertible, whatever its parameters.

    Args:
        size: number of rows and of columns.

    Raises:
        ValueError: if `size` is less than 1.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"expected size ≥ 1; got {size}")
        self.size = size

    @abstractmethod
    def forward(self) -> Tensor:
        """Return A, of shape (size, size)."""

    @abstractmethod
    def solve(self, b: Tensor) -> Tensor:
        """Return A⁻¹ b for columns b of shape (size, n)."""

    @abstractmethod
    def log_det(self) -> Tensor:
        """Return log|det A|, of shape ()."""

    def extra_repr(self) -> str:
        """Name the size."""
        return str(self.size)


def random_rotation(size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Return an orthogonal matrix of determinant 1, drawn uniformly.

    Args:
        size: number of rows and of columns.
        generator: where the randomness comes from; torch's global generator if None.

    Example:
        >>> import torch, pyro_flows as pf
        >>> rotation = pf.matrices.random_rotation(3)
        >>> bool(torch.allclose(rotation @ rotation.mT, torch.eye(3), atol=1e-5))
        True
    """
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()  # without it QR's conventions would make some rotations likelier
    q[:, 0] *= torch.linalg.det(q).sign()
    return q.to(torch.get_default_dtype())
