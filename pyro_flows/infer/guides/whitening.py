"""The affine map between a flow and the posterior's own location and scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from ...transform import FlowTransform
from ...transforms.full_precision import full_precision

__all__ = ["Whitening"]

FULL_GAIN = 16  # dimensions, up to which A is learned as it is


class Whitening(FlowTransform):
    r"""y = μ + L (m + A x) with fixed μ, L and learnable m, A; log|det dy/dx| = Σ log L_ii + Σ log A_ii.

    μ and L bring the posterior to location zero and scale one, so that one learning rate fits every
    scale; m and A, which start at zero and the identity, correct them. L and A are lower triangular
    with positive diagonals, or diagonal. Adam moves all d²/2 elements of A by as much, which adds up to √d as
    much for each element of y: above 16 dimensions those below the diagonal are therefore learned in units of
    √(16 / d).

    Args:
        size: length d of the vector.
        dense: whether L and A are triangular matrices; only their diagonals otherwise.

    Raises:
        ValueError: if `size` is less than 1.
    """

    _version = 2  # of the state; the first kept A's elements without a unit
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
        self.gain = min(1.0, (FULL_GAIN / size) ** 0.5)
        self.shift = nn.Parameter(torch.zeros(size))
        self.log_diagonal = nn.Parameter(torch.zeros(size))
        self.lower = nn.Parameter(torch.zeros(size, size)) if dense and size > 1 else None

    def correction(self) -> Tensor:
        """Return A, of shape (d, d), or its diagonal."""
        diagonal = self.log_diagonal.exp()
        if not self.dense:
            return diagonal
        matrix = torch.diag_embed(diagonal)
        return matrix if self.lower is None else matrix + self.gain * self.lower.tril(-1)

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

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        lower = state_dict.get(f"{prefix}lower")
        if lower is not None and local_metadata.get("version") == 1:
            state_dict[f"{prefix}lower"] = lower / self.gain
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _log_det(self) -> Tensor:
        scales = self.scale.diagonal() if self.dense else self.scale
        return self.log_diagonal.sum() + scales.log().sum()

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and Σ log L_ii + Σ log A_ii."""
        self._check(x.shape, self.domain_shape, 1)
        with full_precision(x):
            if self.dense:  # one after the other: the product of the matrices would cost d³
                y = F.linear(F.linear(x, self.correction(), self.shift), self.scale, self.loc)
            else:
                loc, scales = self.location_and_scale()
                y = loc + x * scales
        return y, self._log_det().expand(x.shape[:-1])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −Σ log L_ii − Σ log A_ii."""
        self._check(y.shape, self.codomain_shape, 1)
        with full_precision(y):
            if self.dense:
                rows = _solve(self.scale, (y - self.loc).reshape(-1, len(self.loc)))
                x = _solve(self.correction(), rows - self.shift).reshape(y.shape)
            else:
                loc, scales = self.location_and_scale()
                x = (y - loc) / scales
        return x, -self._log_det().expand(y.shape[:-1])

    def extra_repr(self) -> str:
        """Name the size and the kind."""
        return f"{len(self.loc)}, dense={self.dense}"


def _solve(lower: Tensor, rows: Tensor) -> Tensor:
    """Return the rows x with x Lᵀ = `rows`, of shape (n, d), for a lower triangular L."""
    return torch.linalg.solve_triangular(lower.mT, rows, upper=True, left=False)
