"""The contract of a monotone scalar map."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.distributions import constraints

__all__ = ["Elementwise"]


class Elementwise(ABC):
    """A monotone map y = g(x; θ) of each element, with its log-derivative.

    `params` holds θ and has shape (*batch, num_params, *event), `x` and `y` (*batch, *event);
    `event_dim` counts the event's dimensions. All-zero params are (near) the identity.
    """

    num_params: int
    domain: constraints.Constraint = constraints.real
    codomain: constraints.Constraint = constraints.real

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return y = g(x; θ) and log dy/dx, both of shape (*batch, *event)."""

    @abstractmethod
    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return x = g⁻¹(y; θ) and log dx/dy, both of shape (*batch, *event)."""
