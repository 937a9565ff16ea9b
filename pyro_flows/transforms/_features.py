"""What layers with one scale and one shift for each feature share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Size, Tensor
from torch.distributions import constraints


@dataclass(frozen=True)
class Features:
    """Features along the first of `event_dim` event dimensions: (*batch, d) or (*batch, C, H, W)."""

    count: int
    event_dim: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.event_dim < 1:
            raise ValueError(
                f"expected num_features ≥ 1 and event_dim ≥ 1; got {self.count} and {self.event_dim}"
            )

    @property
    def constraint(self) -> constraints.Constraint:
        """The constraint of an unbounded event."""
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def shape(self) -> Size | None:
        """The event's shape if the number of features determines it, else None."""
        return Size([self.count]) if self.event_dim == 1 else None

    def check(self, y: Tensor) -> None:
        """Raise a ValueError unless y has this many features."""
        if y.dim() < self.event_dim or y.shape[-self.event_dim] != self.count:
            raise ValueError(f"expected {self.count} features; got shape {tuple(y.shape)}")

    def column(self, values: Tensor) -> Tensor:
        """Give one value for each feature the shape that broadcasts against events."""
        return values if self.event_dim == 1 else values.reshape(-1, *[1] * (self.event_dim - 1))

    def log_det(self, y: Tensor, log_scales: Tensor) -> Tensor:
        """Sum the log-scales of the features over the event, and expand the sum to y's batch shape."""
        batch = y.dim() - self.event_dim
        total = log_scales.sum()
        if self.event_dim > 1:
            total = total * y.shape[batch + 1 :].numel()
        return total.expand(y.shape[:batch])
