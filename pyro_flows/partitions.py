"""Partitions: which half of an event a coupling reads, and which half it changes."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Size, Tensor, nn

__all__ = ["Alternating", "Halves", "Mask", "Partition"]


class Partition(nn.Module):
    """Splits an event into a passive part, read, and an active part, changed.

    Sets `event_shape`, `passive_shape` and `active_shape`.
    """

    event_shape: Size
    passive_shape: Size
    active_shape: Size

    @abstractmethod
    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the passive and the active part of y, of shape (*batch, *event_shape)."""

    @abstractmethod
    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Return the y that `split` makes these parts of."""

    def mirrors(self, other: Partition) -> bool:
        """Whether the passive part is known to be the other's active part, and the reverse."""
        return False


def _at_least_two(size: int) -> int:
    if size < 2:
        raise ValueError(f"expected a size of at least 2, a coupling needs two parts; got {size}")
    return size


class Halves(Partition):
    """The first ⌈d/2⌉ elements are passive and the rest active, or with `swap` the reverse.

    Args:
        size: d, the length of the event vector, at least 2.
        swap: read the last ⌊d/2⌋ elements and change the first ones instead.

    Raises:
        ValueError: where `size` is less than 2.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Halves(5).split(torch.arange(5.0))
        >>> passive.tolist(), active.tolist()
        ([0.0, 1.0, 2.0], [3.0, 4.0])
    """

    def __init__(self, size: int, *, swap: bool = False) -> None:
        super().__init__()
        self.event_shape = Size([_at_least_two(size)])
        self.swap = swap
        self.sizes = [size - size // 2, size // 2]
        self.passive_shape, self.active_shape = Size(self.sizes[:1]), Size(self.sizes[1:])
        if swap:
            self.passive_shape, self.active_shape = self.active_shape, self.passive_shape

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of the two halves."""
        first, second = y.split(self.sizes, -1)
        return (second, first) if self.swap else (first, second)

    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Concatenate the halves."""
        return torch.cat((active, passive) if self.swap else (passive, active), -1)

    def mirrors(self, other: Partition) -> bool:
        """Whether `other` is the same cut with the parts swapped."""
        if not (isinstance(other, Halves) and other.event_shape == self.event_shape):
            return False
        return other.swap != self.swap

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.event_shape[0]}, swap={self.swap}"


class Alternating(Partition):
    """The elements 0, 2, 4, … are passive and 1, 3, 5, … active, or with `swap` the reverse.

    Args:
        size: d, the length of the event vector, at least 2.
        swap: read the odd elements and change the even ones instead.

    Raises:
        ValueError: where `size` is less than 2.

    Example:
        >>> import torch, pyro_flows as pf
        >>> passive, active = pf.partitions.Alternating(5).split(torch.arange(5.0))
        >>> passive.tolist(), active.tolist()
        ([0.0, 2.0, 4.0], [1.0, 3.0])
    """

    def __init__(self, size: int, *, swap: bool = False) -> None:
        super().__init__()
        self.event_shape = Size([_at_least_two(size)])
        self.swap = swap
        self.passive_shape, self.active_shape = Size([size - size // 2]), Size([size // 2])
        if swap:
            self.passive_shape, self.active_shape = self.active_shape, self.passive_shape

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return views of every other element."""
        even, odd = y[..., ::2], y[..., 1::2]
        return (odd, even) if self.swap else (even, odd)

    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Interleave the two parts."""
        even, odd = (active, passive) if self.swap else (passive, active)
        size = self.event_shape[0]
        if size % 2:
            odd = nn.functional.pad(odd, (0, 1))
        return torch.stack((even, odd), -1).flatten(-2)[..., :size]

    def mirrors(self, other: Partition) -> bool:
        """Whether `other` is the same cut with the parts swapped."""
        if not (isinstance(other, Alternating) and other.event_shape == self.event_shape):
            return False
        return other.swap != self.swap

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.event_shape[0]}, swap={self.swap}"


class Mask(Partition):
    """The elements where a boolean mask is true are passive, the others active.

    Both parts are gathered into vectors, so that a network sees no masked zeros. A mask of more
    than one dimension partitions events of its shape.

    Args:
        mask: boolean tensor of the event's shape, with at least one element of each kind.

    Raises:
        TypeError: where `mask` is not boolean.
        ValueError: where it is all true, all false or has no dimension.

    Example:
        >>> import torch, pyro_flows as pf
        >>> mask = torch.tensor([True, False, False, True])
        >>> passive, active = pf.partitions.Mask(mask).split(torch.arange(4.0))
        >>> passive.tolist(), active.tolist()
        ([0.0, 3.0], [1.0, 2.0])
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if mask.dtype != torch.bool:
            raise TypeError(f"expected a boolean mask; got dtype {mask.dtype}")
        count = int(mask.sum())
        if mask.dim() < 1 or not 0 < count < mask.numel():
            raise ValueError(
                f"expected a mask with a true and a false element; got {count} true of {mask.numel()}"
            )
        flat = mask.flatten()
        order = torch.cat([flat.nonzero(), (~flat).nonzero()]).squeeze(-1)
        self.event_shape = mask.shape
        self.passive_shape, self.active_shape = Size([count]), Size([mask.numel() - count])
        self.register_buffer("passive_index", order[:count])
        self.register_buffer("active_index", order[count:])
        self.register_buffer("merge_index", order.argsort())

    passive_index: Tensor
    active_index: Tensor
    merge_index: Tensor

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the passive and the active elements as vectors."""
        flat = y.flatten(-len(self.event_shape)) if len(self.event_shape) > 1 else y
        return flat.index_select(-1, self.passive_index), flat.index_select(-1, self.active_index)

    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Put the elements back in their places."""
        flat = torch.cat((passive, active), -1).index_select(-1, self.merge_index)
        return flat.unflatten(-1, self.event_shape) if len(self.event_shape) > 1 else flat

    def extra_repr(self) -> str:
        """Name the sizes."""
        return f"{self.passive_shape[0]} of {self.event_shape.numel()} passive"
