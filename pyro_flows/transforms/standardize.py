"""The data's own units as a fixed affine map."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from ..transform import FlowTransform
from ._features import Features

__all__ = ["Standardize"]


class Standardize(FlowTransform):
    """y = x · σ + μ with a fixed mean μ and standard deviation σ of each element, log|det dy/dx| = Σ log σ.

    Next to the data, it lets every other layer work at scale one while scores stay in the data's
    own units. μ and σ are buffers, saved with the module.

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
    def of(cls, data: Tensor) -> Standardize:
        """Return the transform that standardises `data`, of shape (rows, d).

        Raises:
            ValueError: if a column is constant, or holds a NaN or an infinity.
        """
        return cls(data.mean(0), data.std(0))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · σ + μ and Σ log σ."""
        self.features.check(x)
        return torch.addcmul(self.mean, x, self.std), self.features.log_det(x, self.std.log())

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (y − μ) / σ and −Σ log σ."""
        self.features.check(y)
        return (y - self.mean) / self.std, self.features.log_det(y, -self.std.log())
