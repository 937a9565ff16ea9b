"""The data's own units as a fixed affine map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from .._arrays import as_tensor
from ..transform import FlowTransform
from ._features import Features

__all__ = ["Standardize"]


class Standardize(FlowTransform):
    """y = x · σ + μ with a fixed mean μ and standard deviation σ of each element, log|det dy/dx| = Σ log σ.

    Next to the data, it lets every other layer work at scale one while scores stay in the data's
    own units. μ and σ are buffers, saved with the module. `pyro_flows.fit` does the same by itself, see
    `Units`; this is for loops of one's own.

    Args:
        mean: μ, of shape (d,).
        std: σ > 0, of shape (d,).

    Raises:
        ValueError: if the shapes differ, or a σ is not positive and finite.

    Example:
        >>> import torch, pyro_flows as pf
        >>> data = torch.randn(100, 3) * 50 + 1000
        >>> x = pf.transforms.Standardize.of(data).inv(data)
        >>> bool((x.mean(0).abs() < 1e-4).all())
        True
    """

    domain = codomain = constraints.real_vector
    mean: Tensor
    std: Tensor

    reversible = True

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        if mean.dim() != 1 or mean.shape != std.shape:
            raise ValueError(f"expected two vectors; got shapes {tuple(mean.shape)} and {tuple(std.shape)}")
        if not bool((std > 0).logical_and(std.isfinite()).all()):
            raise ValueError(f"expected positive finite standard deviations; got {std.tolist()}")
        self.features = Features(len(mean), 1)
        self.domain_shape = self.codomain_shape = Size(mean.shape)
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("std", std.detach().clone())

    @classmethod
    def of(cls, data: Any) -> Standardize:
        """Return the transform that standardises `data`, a tensor, array or data frame of shape (rows, d).

        Raises:
            ValueError: if a column is constant, or holds a NaN or an infinity.
        """
        rows = as_tensor(data, "data")
        rows = rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())
        return cls(rows.mean(0), rows.std(0))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · σ + μ and Σ log σ."""
        self.features.check(x)
        std = (
            self.std
            if self.std.dtype is x.dtype
            else self.std.to(torch.promote_types(self.std.dtype, x.dtype))
        )
        return torch.addcmul(self.mean, x.to(std.dtype), std), self.features.log_det(x, std.log())

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (y − μ) / σ, in the precision of y, and −Σ log σ."""
        self.features.check(y)
        return ((y - self.mean) / self.std).to(y.dtype), self.features.log_det(y, -self.std.log())
