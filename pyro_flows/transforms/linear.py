"""Linear maps of vectors and of the channels of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..matrices import LU, Matrix, Orthogonal, random_rotation
from ..transform import FlowTransform
from ._features import Features
from .full_precision import full_precision

__all__ = ["Linear", "generalized_channel_permute", "householder"]


class Linear(FlowTransform):
    r"""y = A x + b at each position of the event, log|det dy/dx| = positions × log|det A|.

    A vector has one position; an image has H · W, where the map is an invertible 1×1 convolution of
    the channels. Sampling multiplies by A and scoring solves with it; in
    ``Linear(matrix, bias=False).inv`` scoring multiplies, as in Glow.

    Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018,
    arXiv:1807.03039, section 3.2.

    Args:
        matrix: A, from `pyro_flows.matrices`.
        event_dim: 1 for vectors (*batch, d), 3 for images (*batch, C, H, W).
        bias: whether there is a b, of one element a feature; it starts at zero.

    Raises:
        ValueError: if the input does not have as many features as `matrix` has rows.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer = pf.transforms.Linear(pf.matrices.LU(3), event_dim=3)
        >>> y, log_det = layer.forward_and_log_det(torch.randn(5, 3, 8, 8))
        >>> y.shape, log_det.shape
        (torch.Size([5, 3, 8, 8]), torch.Size([5]))
    """

    reversible = True

    def __init__(self, matrix: Matrix, *, event_dim: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.features = Features(matrix.size, event_dim)
        self.domain = self.codomain = self.features.constraint
        self.domain_shape = self.codomain_shape = self.features.shape
        self.matrix = matrix
        self.bias = nn.Parameter(torch.zeros(matrix.size)) if bias else None

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return A x + b and positions × log|det A|."""
        self.features.check(x)
        with full_precision(x):
            y = nn.functional.linear(self._last(x), self.matrix(), self.bias)
            return self._first(y), self.features.log_det(x, self.matrix.log_det())

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return A⁻¹ (y − b) and −positions × log|det A|."""
        self.features.check(y)
        last = self._last(y)
        rows = (last if self.bias is None else last - self.bias).reshape(-1, self.features.count)
        with full_precision(y):
            x = self.matrix.solve(rows.mT).mT.reshape(last.shape)
            return self._first(x), self.features.log_det(y, -self.matrix.log_det())

    def _last(self, x: Tensor) -> Tensor:
        """Put the features last: for an image this is what `torch.channels_last` holds in memory."""
        return x if self.features.event_dim == 1 else x.movedim(-self.features.event_dim, -1)

    def _first(self, x: Tensor) -> Tensor:
        return x if self.features.event_dim == 1 else x.movedim(-1, -self.features.event_dim)


def householder(input_dim: int, count_transforms: int = 1) -> Linear:
    """Return `count_transforms` random Householder reflections, under the name Pyro users expect."""
    return Linear(Orthogonal(input_dim, count_transforms, random=True), bias=False)


def generalized_channel_permute(channels: int = 3) -> Linear:
    """Return an invertible 1×1 convolution that starts at a random rotation, under Pyro's name for it."""
    return Linear(LU(channels, start=random_rotation(channels)), event_dim=3, bias=False)
