"""Orthogonal matrices, by Householder reflections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Matrix

__all__ = ["Orthogonal"]


class Orthogonal(Matrix):
    r"""Q = H_1 H_2 … H_K with reflections H_k = I − 2 v_k v_kᵀ / ‖v_k‖²; log|det Q| = 0.

    The product is formed at once as Q = I − V T Vᵀ with unit columns in V, where T⁻¹ holds ½ on its
    diagonal and VᵀV above it: one triangular solve, no loop over reflections.

    Tomczak & Welling, "Improving Variational Auto-Encoders using Householder Flow", 2016,
    arXiv:1611.09630. The form of the product: Joffrain, Low, Quintana-Ortí, van de Geijn & Van Zee,
    "Accumulating Householder transformations, revisited", 2006.

    Args:
        size: number of rows and of columns.
        reflections: K; if None the least even number that reaches every rotation.
        random: start with vectors drawn at random, rather than at the identity, for which each two
            reflections begin as one another's inverse.

    Raises:
        ValueError: if `reflections` is less than 1, or odd without `random`.

    Example:
        >>> import torch, pyro_flows as pf
        >>> q = pf.matrices.Orthogonal(5, random=True)()
        >>> bool(torch.allclose(q @ q.mT, torch.eye(5), atol=1e-5))
        True
    """

    def __init__(self, size: int, reflections: int | None = None, *, random: bool = False) -> None:
        super().__init__(size)
        if reflections is None:
            reflections = max(2, size - size % 2)
        if reflections < 1:
            raise ValueError(f"expected reflections ≥ 1; got {reflections}")
        if random:
            vectors = torch.randn(size, reflections)
        elif reflections % 2:
            raise ValueError(
                f"expected an even number of reflections, or random=True, as an odd one cannot start at the "
                f"identity; got {reflections}"
            )
        else:
            vectors = torch.randn(size, reflections // 2).repeat_interleave(2, 1)
        self.vectors = nn.Parameter(vectors)

    def forward(self) -> Tensor:
        """Return Q."""
        v = nn.functional.normalize(self.vectors, dim=0)
        overlaps = v.mT @ v
        halves = overlaps.new_full((v.shape[1],), 0.5).diag_embed()
        right = torch.linalg.solve_triangular(overlaps.triu(1) + halves, v.mT, upper=True)
        return torch.eye(self.size, dtype=v.dtype, device=v.device) - v @ right

    def solve(self, b: Tensor) -> Tensor:
        """Return Qᵀ b."""
        return self().mT @ b

    def log_det(self) -> Tensor:
        """Return 0."""
        return self.vectors.new_zeros(())

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.size}, reflections={self.vectors.shape[1]}"
