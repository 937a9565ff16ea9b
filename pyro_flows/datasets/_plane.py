"""What all densities of the plane have in common."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

__all__ = ["PlaneDensity"]

Self = TypeVar("Self", bound="PlaneDensity")


class PlaneDensity(TorchDistribution):
    r"""p(y) over points y of R², drawn and scored exactly.

    A subclass writes `_draw` and `_log_density`. Parameters are plain numbers: nothing is learned, and
    samples carry no gradient; log_prob is differentiable in its points. A NaN in a row
    gives NaN for that row only, and rows outside the support get −∞.

    Args:
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Raises:
        TypeError: if `like` does not hold floating-point numbers.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support: constraints.Constraint = constraints.real_vector

    def __init__(self, like: Tensor | None = None) -> None:
        like = torch.empty(0) if like is None else like
        if not like.is_floating_point():
            raise TypeError(f"expected like to be a floating-point tensor; got {like.dtype}")
        self._like = like.detach().new_empty(0)  # no reference to the caller's data is kept
        super().__init__(Size(), Size((2,)), validate_args=False)

    @abstractmethod
    def _draw(self, shape: Size) -> Tensor:
        """Return points of shape (*shape, 2)."""

    @abstractmethod
    def _log_density(self, y: Tensor) -> Tensor:
        """Return log p(y), of shape (*n,), for points of shape (*n, 2)."""

    def expand(self: Self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """Return the distribution with another batch shape."""
        new = copy.copy(self) if _instance is None else _instance
        new._batch_shape = Size(batch_shape)
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw points of shape (*sample_shape, *batch_shape, 2)."""
        return self._draw(Size(sample_shape) + self._batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of points, of shape (*sample_shape, *batch_shape)."""
        if value.shape[-1:] != (2,):
            raise ValueError(f"expected values of event shape (2,); got shape {tuple(value.shape)}")
        log_prob = self._log_density(value)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self._batch_shape))


def positive(**values: float) -> None:
    """Raise a ValueError if one of the named numbers is not positive and finite."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"expected {name} > 0 and finite; got {value}")
