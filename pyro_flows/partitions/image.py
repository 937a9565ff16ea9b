"""Ways to cut an image, channels first."""

from __future__ import annotations

import torch
from torch import Size, Tensor

from .base import TwoSided

__all__ = ["Channels", "Checkerboard", "CheckerboardDepth"]


def _even(event_shape: Size) -> tuple[int, int, int]:
    channels, height, width = event_shape
    if height % 2 or width % 2:
        wanted = (channels, height + height % 2, width + width % 2)
        raise ValueError(
            f"expected even height and width for a checkerboard; got {tuple(event_shape)}: pad to {wanted}, "
            "or use a Mask"
        )
    return channels, height, width


class Channels(TwoSided):
    """The first ⌈C/2⌉ channels are passive and the rest active, or with `swap` the reverse.

    Args:
        event_shape: (C, H, W) with C at least 2; None for any.
        swap: read the last ⌊C/2⌋ channels and change the first ones instead.

    Raises:
        ValueError: if there is only one channel.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Channels().split(torch.zeros(5, 3, 4, 4))
        >>> passive.shape, active.shape
        (torch.Size([5, 2, 4, 4]), torch.Size([5, 1, 4, 4]))
    """

    event_dim = active_dim = 3

    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return (⌈C/2⌉, H, W) and (⌊C/2⌋, H, W)."""
        channels, *plane = event_shape
        if channels < 2:
            raise ValueError(f"expected at least 2 channels, a coupling needs two parts; got {channels}")
        return Size([channels - channels // 2, *plane]), Size([channels // 2, *plane])

    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of the two groups of channels."""
        channels = y.shape[-3]
        first, second = y.split([channels - channels // 2, channels // 2], -3)
        return first, second

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Concatenate the channels."""
        return torch.cat((first, second), -3)


class Checkerboard(TwoSided):
    """Pixels (i, j) with i + j even are passive, the others active, or with `swap` the reverse.

    Each side is gathered into rows of half the width, of shape (C, H, W/2): row i keeps its pixels
    in their order. Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803, figure 3.

    Args:
        event_shape: (C, H, W) with even H and W; None for any.
        swap: read the pixels with i + j odd and change the others instead.

    Raises:
        ValueError: if a side is odd; the message names the padding.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Checkerboard().split(torch.arange(8.0).reshape(1, 2, 4))
        >>> passive.tolist(), active.tolist()
        ([[[0.0, 2.0], [5.0, 7.0]]], [[[1.0, 3.0], [4.0, 6.0]]])
    """

    event_dim = active_dim = 3

    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return (C, H, W/2) twice."""
        channels, height, width = _even(event_shape)
        return Size([channels, height, width // 2]), Size([channels, height, width // 2])

    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the pixels with i + j even, and the others."""
        upper, lower = y[..., ::2, :], y[..., 1::2, :]
        first = torch.stack((upper[..., ::2], lower[..., 1::2]), -2).flatten(-3, -2)
        second = torch.stack((upper[..., 1::2], lower[..., ::2]), -2).flatten(-3, -2)
        return first, second

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Put the pixels back in their places."""
        upper = torch.stack((first[..., ::2, :], second[..., ::2, :]), -1).flatten(-2)
        lower = torch.stack((second[..., 1::2, :], first[..., 1::2, :]), -1).flatten(-2)
        return torch.stack((upper, lower), -2).flatten(-3, -2)


class CheckerboardDepth(TwoSided):
    """Like `Checkerboard`, each side gathered from space to depth, into (2C, H/2, W/2).

    Of each 2×2 block the first side takes the upper left and the lower right pixel, the second the
    upper right and the lower left one, as channels c and C + c.

    Args:
        event_shape: (C, H, W) with even H and W; None for any.
        swap: read the pixels with i + j odd and change the others instead.

    Raises:
        ValueError: if a side is odd; the message names the padding.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.CheckerboardDepth().split(torch.arange(8.0).reshape(1, 2, 4))
        >>> passive.tolist(), active.tolist()
        ([[[0.0, 2.0]], [[5.0, 7.0]]], [[[1.0, 3.0]], [[4.0, 6.0]]])
    """

    event_dim = active_dim = 3

    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return (2C, H/2, W/2) twice."""
        channels, height, width = _even(event_shape)
        side = Size([2 * channels, height // 2, width // 2])
        return side, side

    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the pixels with i + j even, and the others."""
        first = torch.cat((y[..., ::2, ::2], y[..., 1::2, 1::2]), -3)
        second = torch.cat((y[..., ::2, 1::2], y[..., 1::2, ::2]), -3)
        return first, second

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Put the pixels back in their places."""
        (top_left, bottom_right), (top_right, bottom_left) = first.chunk(2, -3), second.chunk(2, -3)
        upper = torch.stack((top_left, top_right), -1).flatten(-2)
        lower = torch.stack((bottom_left, bottom_right), -1).flatten(-2)
        return torch.stack((upper, lower), -2).flatten(-3, -2)
