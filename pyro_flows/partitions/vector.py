"""Two ways to cut a vector."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn

from .base import TwoSided

__all__ = ["Alternating", "Halves"]


def _sides(event_shape: Size) -> tuple[Size, Size]:
    size = event_shape[0]
    if size < 2:
        raise ValueError(f"expected a size of at least 2, a coupling needs two parts; got {size}")
    return Size([size - size // 2]), Size([size // 2])


class Halves(TwoSided):
    """The first ⌈d/2⌉ elements are passive and the rest active, or with `swap` the reverse.

    Args:
        event_shape: d, the length of the event vector, at least 2; None for any.
        swap: read the last ⌊d/2⌋ elements and change the first ones instead.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Halves(5).split(torch.arange(5.0))
        >>> passive.tolist(), active.tolist()
        ([0.0, 1.0, 2.0], [3.0, 4.0])
    """

    event_dim = active_dim = 1

    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return (⌈d/2⌉,) and (⌊d/2⌋,)."""
        return _sides(event_shape)

    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of the two halves."""
        size = y.shape[-1]
        first, second = y.split_with_sizes([size - size // 2, size // 2], -1)
        return first, second

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Concatenate the halves."""
        return torch.cat((first, second), -1)


class Alternating(TwoSided):
    """The elements 0, 2, 4, … are passive and 1, 3, 5, … active, or with `swap` the reverse.

    Args:
        event_shape: d, the length of the event vector, at least 2; None for any.
        swap: read the odd elements and change the even ones instead.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Alternating(5).split(torch.arange(5.0))
        >>> passive.tolist(), active.tolist()
        ([0.0, 2.0, 4.0], [1.0, 3.0])
    """

    event_dim = active_dim = 1

    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return (⌈d/2⌉,) and (⌊d/2⌋,)."""
        return _sides(event_shape)

    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of every other element."""
        return y[..., ::2], y[..., 1::2]

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Interleave the two parts."""
        size = first.shape[-1] + second.shape[-1]
        if size % 2:
            second = nn.functional.pad(second, (0, 1))
        return torch.stack((first, second), -1).flatten(-2)[..., :size]
