"""Any invertible matrix, by its LU decomposition."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Matrix

__all__ = ["LU"]


class LU(Matrix):
    r"""A = P L U with a fixed P, a unit lower triangular L and an upper triangular U, u_ii = exp(a_i).

    log|det A| = Σ a_i. One parameter of shape (size, size) holds L below its diagonal, the a_i on
    it and U above it. P is a permutation matrix with signs, a buffer that is saved with the module;
    the signs let A start at, and keep the orientation of, any matrix while u_ii stays positive.

    Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018,
    arXiv:1807.03039, section 3.2.

    Args:
        size: number of rows and of columns.
        start: the matrix to start at, of shape (size, size), such as a `random_rotation`; the
            identity if None.

    Raises:
        ValueError: if `start` is singular or of another shape.

    Example:
        >>> import torch, pyro_flows as pf
        >>> rotation = pf.matrices.random_rotation(4)
        >>> bool(torch.allclose(pf.matrices.LU(4, start=rotation)(), rotation, atol=1e-5))
        True
    """

    signed_permutation: Tensor

    def __init__(self, size: int, *, start: Tensor | None = None) -> None:
        super().__init__(size)
        if start is None:
            start = torch.eye(size)
        if start.shape != (size, size):
            raise ValueError(f"expected a start of shape {(size, size)}; got {tuple(start.shape)}")
        permutation, lower, upper = torch.linalg.lu(start.detach().double())
        diagonal = upper.diagonal()
        if not bool((diagonal.isfinite() & (diagonal != 0)).all()):
            raise ValueError("expected an invertible matrix to start at; got a singular one")
        # P L S U' = (P S) (S L S) U' for signs S: u_ii becomes positive and L stays unit lower triangular.
        signs = diagonal.sign()
        packed = (
            (lower * signs * signs[:, None]).tril(-1)
            + (upper * signs[:, None]).triu(1)
            + diagonal.abs().log().diag_embed()
        )
        self.register_buffer("signed_permutation", (permutation * signs).to(start.dtype))
        self.packed = nn.Parameter(packed.to(start.dtype))

    def forward(self) -> Tensor:
        """Return A = P L U."""
        upper = self._upper()
        return self.signed_permutation @ (upper + self.packed.tril(-1) @ upper)

    def solve(self, b: Tensor) -> Tensor:
        """Return A⁻¹ b by two substitutions."""
        b = self.signed_permutation.mT @ b
        b = torch.linalg.solve_triangular(self.packed.tril(-1), b, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(self._upper(), b, upper=True)

    def log_det(self) -> Tensor:
        """Return Σ a_i."""
        return self.packed.diagonal().sum()

    def _upper(self) -> Tensor:
        return self.packed.triu(1) + self.packed.diagonal().exp().diag_embed()
