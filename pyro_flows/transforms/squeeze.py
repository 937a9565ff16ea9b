"""Space to depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from ..transform import FlowTransform

__all__ = ["Squeeze"]


class Squeeze(FlowTransform):
    """Scoring turns each 2×2 block into channels, (C, H, W) → (4C, H/2, W/2); log|det| = 0.

    In the plain order channel 4c + 2i + j of x is pixel (i, j) of the blocks of channel c. In Real
    NVP's alternating order the upper left pixels of all channels come first, then the lower right,
    the upper right and the lower left ones: halves of the channels are then the two sides of a
    checkerboard.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803,
    section 3.6 and figure 3.

    Args:
        image_shape: (C, H, W) of y, the data side, with even H and W; None for any.
        alternating: use Real NVP's order.

    Raises:
        ValueError: if a side is odd; the message names the size needed.

    Example:
        >>> import torch, pyro_flows as pf
        >>> y = torch.arange(8.0).reshape(1, 2, 4)
        >>> pf.transforms.Squeeze().inv(y).flatten(1).tolist()
        [[0.0, 2.0], [1.0, 3.0], [4.0, 6.0], [5.0, 7.0]]
    """

    domain = codomain = constraints.independent(constraints.real, 3)

    reversible = True

    def __init__(self, image_shape: Sequence[int] | None = None, *, alternating: bool = False) -> None:
        super().__init__()
        self.alternating = alternating
        if image_shape is not None:
            self.codomain_shape = Size(image_shape)
            self.domain_shape = self.inverse_shape(image_shape)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image, and 0."""
        self.forward_shape(x.shape)
        if self.alternating:
            top_left, bottom_right, top_right, bottom_left = x.chunk(4, -3)
        else:
            top_left, top_right, bottom_left, bottom_right = x.unflatten(-3, (-1, 4)).unbind(-3)
        upper = torch.stack((top_left, top_right), -1).flatten(-2)
        lower = torch.stack((bottom_left, bottom_right), -1).flatten(-2)
        return torch.stack((upper, lower), -2).flatten(-3, -2), x.new_zeros(x.shape[:-3])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the squeezed image, and 0."""
        self.inverse_shape(y.shape)
        upper, lower = y[..., ::2, :], y[..., 1::2, :]
        if self.alternating:
            pixels = (upper[..., ::2], lower[..., 1::2], upper[..., 1::2], lower[..., ::2])
            return torch.cat(pixels, -3), y.new_zeros(y.shape[:-3])
        pixels = (upper[..., ::2], upper[..., 1::2], lower[..., ::2], lower[..., 1::2])
        return torch.stack(pixels, -3).flatten(-4, -3), y.new_zeros(y.shape[:-3])

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return (*batch, C, H, W) for (*batch, 4C, H/2, W/2)."""
        self._check(shape, self.domain_shape, 3)
        *batch, channels, height, width = shape
        if channels % 4:
            raise ValueError(f"expected a multiple of 4 channels; got shape {tuple(shape)}")
        return Size([*batch, channels // 4, 2 * height, 2 * width])

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return (*batch, 4C, H/2, W/2) for (*batch, C, H, W)."""
        self._check(shape, self.codomain_shape, 3)
        *batch, channels, height, width = shape
        if height % 2 or width % 2:
            needed = height + height % 2, width + width % 2
            raise ValueError(
                f"expected even height and width; got shape {tuple(shape)}: {needed[0]}×{needed[1]} is needed"
            )
        return Size([*batch, 4 * channels, height // 2, width // 2])

    def extra_repr(self) -> str:
        """Name the arguments."""
        shape = None if self.codomain_shape is None else tuple(self.codomain_shape)
        return f"{shape}, alternating={self.alternating}"
