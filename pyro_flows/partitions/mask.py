"""Any boolean mask."""

from __future__ import annotations

import torch
from torch import Size, Tensor

from .base import Partition

__all__ = ["Mask"]


class Mask(Partition):
    """The elements where a boolean mask is true are passive, the others active.

    Both parts are gathered into vectors, so that a network sees no masked zeros. A mask of more
    than one dimension partitions events of its shape.

    Args:
        mask: boolean tensor of the event's shape, with at least one element of each kind.

    Raises:
        TypeError: if `mask` is not boolean.
        ValueError: if it is all true, all false or has no dimension.

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
        self.event_shape, self.event_dim = mask.shape, mask.dim()
        self.passive_shape, self.active_shape = Size([count]), Size([mask.numel() - count])
        self.register_buffer("passive_index", order[:count])
        self.register_buffer("active_index", order[count:])
        self.register_buffer("merge_index", order.argsort())

    active_dim = 1
    event_shape: Size
    passive_shape: Size
    active_shape: Size
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
