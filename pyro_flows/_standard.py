"""Distributions without parameters that are cheap to build and to score."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

__all__ = ["StandardBase", "StandardLogistic", "StandardNormal"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

Self = TypeVar("Self", bound="_Standard")


class _Standard(TorchDistribution):
    """Independent elements of mean 0; a subclass writes `_draw`, `_score` and `spread`."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own convention)
    has_rsample = True
    spread: float  # the variance of an element

    def __init__(self, event_shape: Sequence[int], like: Tensor, batch_shape: Sequence[int] = ()) -> None:
        self._like = like
        super().__init__(Size(batch_shape), Size(event_shape), validate_args=False)

    @abstractmethod
    def _draw(self, shape: Size) -> Tensor:
        """Return elements of this shape."""

    @abstractmethod
    def _score(self, value: Tensor, event_dim: int) -> Tensor:
        """Return the log-density of events."""

    @property
    def support(self) -> constraints.Constraint:
        """All of R^event."""
        return constraints.independent(constraints.real, len(self._event_shape))

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return self._like.new_zeros(self._batch_shape + self._event_shape)

    @property
    def variance(self) -> Tensor:
        """The same for each element."""
        return torch.full_like(self.mean, self.spread)

    def expand(self: Self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """Return the distribution with another batch shape."""
        return type(self)(self._event_shape, self._like, batch_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw noise of shape (*sample_shape, *batch_shape, *event_shape)."""
        return self._draw(Size(sample_shape) + self._batch_shape + self._event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of events, of shape (*sample_shape, *batch_shape)."""
        log_prob = self._score(value, len(self._event_shape))
        batch = self._batch_shape
        if log_prob.shape[log_prob.dim() - len(batch) :] == batch:  # `broadcast_shapes` takes time
            return log_prob
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, batch))


def _sum(elements: Tensor, event_dim: int) -> Tensor:
    if event_dim == 0:
        return elements
    return elements.sum(-1) if event_dim == 1 else elements.flatten(-event_dim).sum(-1)


class StandardNormal(_Standard):
    r"""log p(x) = −½ ‖x‖² − (d/2) log 2π over events of any shape; cheap to build and to score.

    Args:
        event_shape: shape of one event, of d elements in all.
        like: any tensor; samples have its dtype and device.
        batch_shape: shape of the batch.

    Example:
        >>> import torch, pyro_flows as pf
        >>> d = pf.bases.StandardNormal((3,), torch.empty(0, dtype=torch.float64))
        >>> d.sample((5,)).dtype, d.log_prob(torch.zeros(5, 3)).shape
        (torch.float64, torch.Size([5]))
    """

    spread = 1.0

    def _draw(self, shape: Size) -> Tensor:
        return torch.randn(shape, dtype=self._like.dtype, device=self._like.device)

    def _score(self, value: Tensor, event_dim: int) -> Tensor:
        # rsub(a, c, alpha) = c − alpha · a, in one operation
        return torch.rsub(
            _sum(value.square(), event_dim), -_HALF_LOG_2PI * self._event_shape.numel(), alpha=0.5
        )


class StandardLogistic(_Standard):
    r"""log p(x) = Σ log σ(x) + log σ(−x): σ maps it to the uniform distribution on (0, 1).

    Args:
        event_shape: shape of one event.
        like: any tensor; samples have its dtype and device.
        batch_shape: shape of the batch.

    Example:
        >>> import torch, pyro_flows as pf
        >>> d = pf.bases.StandardLogistic((3,), torch.empty(0))
        >>> d.sample((5,)).shape, d.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    spread = math.pi**2 / 3

    def _draw(self, shape: Size) -> Tensor:
        uniform = torch.rand(shape, dtype=self._like.dtype, device=self._like.device)
        # Multiples of ε/2 from 0 to 1 − ε/2: without the 0 they are symmetric about a half.
        return uniform.clamp(min=torch.finfo(self._like.dtype).eps / 2).logit()

    def _score(self, value: Tensor, event_dim: int) -> Tensor:
        return _sum(logsigmoid(value) + logsigmoid(-value), event_dim)


class StandardBase(nn.Module):
    """Returns a standard distribution with the module's dtype and device when called."""

    def __init__(self, kind: type[_Standard], event_shape: Sequence[int], like: Tensor) -> None:
        super().__init__()
        self.kind, self.event_shape = kind, Size(event_shape)
        self.register_buffer("like", like.new_empty(0), persistent=False)

    like: Tensor

    def forward(self) -> _Standard:
        """Return the distribution."""
        return self.kind(self.event_shape, self.like)

    def extra_repr(self) -> str:
        """Name the distribution."""
        return f"{self.kind.__name__}({tuple(self.event_shape)})"
