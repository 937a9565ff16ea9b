"""The contract of a partition."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Size, Tensor, nn

__all__ = ["Partition"]


class Partition(nn.Module):
    """Splits an event into a passive part, read, and an active part, changed.

    Sets `event_dim` and `active_dim`, the dimensions of an event and of its parts, and, if it
    knows the event's size, `event_shape`, `passive_shape` and `active_shape`.
    """

    event_dim: int
    active_dim: int
    event_shape: Size | None = None
    passive_shape: Size | None = None
    active_shape: Size | None = None

    @abstractmethod
    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the passive and the active part of y, of shape (*batch, *event)."""

    @abstractmethod
    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Return the y that `split` makes these parts of."""

    def sizes(self) -> tuple[int, int]:
        """Return how many elements the passive and the active part have.

        Raises:
            ValueError: if the partition was made for events of any size.
        """
        if self.passive_shape is None or self.active_shape is None:
            raise ValueError(f"expected a {type(self).__name__} that knows its event's size; got any size")
        return self.passive_shape.numel(), self.active_shape.numel()

    def mirrors(self, other: Partition) -> bool:
        """Whether the passive part is known to be the other's active part, and the reverse."""
        return False


class TwoSided(Partition):
    """A cut whose sides change roles with `swap`; a subclass writes `cut` and `join`.

    Args:
        event_shape: shape of an event, a vector's as a number; None for any.
        swap: read the second side and change the first.
    """

    def __init__(self, event_shape: int | Sequence[int] | None = None, *, swap: bool = False) -> None:
        super().__init__()
        self.swap = swap
        if event_shape is not None:
            self.event_shape = Size([event_shape] if isinstance(event_shape, int) else event_shape)
            passive, active = self.sides(self.event_shape)
            self.passive_shape, self.active_shape = (active, passive) if swap else (passive, active)

    @abstractmethod
    def sides(self, event_shape: Size) -> tuple[Size, Size]:
        """Return the shapes of the two sides, or raise a ValueError if the event cannot be cut."""

    @abstractmethod
    def cut(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second side of y."""

    @abstractmethod
    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the y that `cut` makes these sides of."""

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the passive and the active side."""
        if self.event_shape is None:
            self.sides(y.shape[y.dim() - self.event_dim :])
        first, second = self.cut(y)
        return (second, first) if self.swap else (first, second)

    def merge(self, passive: Tensor, active: Tensor) -> Tensor:
        """Put the sides together."""
        return self.join(active, passive) if self.swap else self.join(passive, active)

    def mirrors(self, other: Partition) -> bool:
        """Whether `other` is the same cut with its sides swapped."""
        if type(other) is not type(self) or other.event_shape != self.event_shape:
            return False
        return bool(other.swap != self.swap)

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{None if self.event_shape is None else tuple(self.event_shape)}, swap={self.swap}"
