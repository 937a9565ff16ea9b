"""The affine map between a flow and the posterior's own location and scales."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ...transform import FlowTransform
from ...transforms.full_precision import full_precision

__all__ = ["Whitening"]


class Whitening(FlowTransform):
    r"""y = μ + L (m + A x) with fixed μ, L and learnable m, A; log|det dy/dx| = Σ log L_ii + Σ log A_ii.

    μ and L bring the posterior to location zero and scale one, so that one learning rate fits every
    scale; m and A, which start at zero and the identity, correct them. L and A are lower triangular
    with positive diagonals, or diagonal.

    Args:
        size: length d of the vector.
        dense: whether L and A are triangular matrices; only their diagonals otherwise.

    Raises:
        ValueError: if `size` is less than 1.
    """

    domain = codomain = constraints.real_vector
    loc: Tensor
    scale: Tensor

    def __init__(self, size: int, *, dense: bool = True) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"expected size ≥ 1; got {size}")
        self.dense = dense
        self.domain_shape = self.codomain_shape = Size([size])
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.eye(size) if dense else torch.ones(size))
        self.shift = nn.Parameter(torch.zeros(size))
        self.log_diagonal = nn.Parameter(torch.zeros(size))
        self.lower = nn.Parameter(torch.zeros(size, size)) if dense and size > 1 else None

    def correction(self) -> Tensor:
        """Return A, of shape (d, d), or its diagonal."""
        diagonal = self.log_diagonal.exp()
        if not self.dense:
            return diagonal
        matrix = torch.diag_embed(diagonal)
        return matrix if self.lower is None else matrix + self.lower.tril(-1)

    @torch.no_grad()
    def place(self, loc: Tensor, scale: Tensor) -> None:
        """Set μ, of shape (d,), and L, of shape (d, d), or its diagonal; m and A return to the start."""
        self.loc.copy_(loc)
        self.scale.copy_(scale)
        for parameter in self.parameters():
            parameter.zero_()

    def location_and_scale(self) -> tuple[Tensor, Tensor]:
        """Return μ + L m, of shape (d,), and L A, of shape (d, d), or its diagonal."""
        if self.dense:
            return torch.addmv(self.loc, self.scale, self.shift), self.scale @ self.correction()
        return torch.addcmul(self.loc, self.scale, self.shift), self.scale * self.correction()

    def _log_det(self) -> Tensor:
        scales = self.scale.diagonal() if self.dense else self.scale
        return self.log_diagonal.sum() + scales.log().sum()

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and Σ log L_ii + Σ log A_ii."""
        self._check(x.shape, self.domain_shape, 1)
        with full_precision(x):
            loc, matrix = self.location_and_scale()
            y = loc + (x @ matrix.mT if self.dense else x * matrix)
        return y, self._log_det().expand(x.shape[:-1])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −Σ log L_ii − Σ log A_ii."""
        self._check(y.shape, self.codomain_shape, 1)
        with full_precision(y):
            loc, matrix = self.location_and_scale()
        centred = y - loc
        if self.dense:
            rows = centred.reshape(-1, len(loc))
            x = torch.linalg.solve_triangular(matrix.mT, rows, upper=True, left=False).reshape(y.shape)
        else:
            x = centred / matrix
        return x, -self._log_det().expand(y.shape[:-1])

    def extra_repr(self) -> str:
        """Name the size and the kind."""
        return f"{len(self.loc)}, dense={self.dense}"
