"""Running averages of a batch's mean and variance, shared by every batch norm."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from .._tracing import may_learn

__all__ = ["RunningMoments"]


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: a plain one loses the other ranks' share."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        distributed.all_reduce(total)
        return total


def is_distributed() -> bool:
    """Whether a batch is shared by several processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    return _SumOverRanks.apply(tensor) if is_distributed() else tensor


def batch_moments(y: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and (biased) variance of each feature, and how many rows they come from.

    A row is one event. Rows that hold a NaN or an infinity are left out; under
    `torch.distributed` the rows of all ranks count.

    Args:
        y: tensor of shape (*batch, *event); features lie along the event's first dimension.
        event_dim: number of event dimensions, at least 1.

    Returns:
        mean and variance, of shape (num_features,), and the row count, of shape ().
    """
    features = y.shape[-event_dim]
    rows = y.reshape(-1, features) if event_dim == 1 else y.reshape(-1, features, *y.shape[1 - event_dim :])
    inner = tuple(range(1, rows.dim()))
    finite = rows.isfinite().all(inner, keepdim=True)
    positions = rows[0:1, 0:1].numel() if rows.shape[0] else 1
    # Multiplying by zero would let a NaN through.
    rows = torch.where(finite, rows, rows.new_zeros(()))
    over = (0, *inner[1:])
    count = finite.sum(dtype=y.dtype).reshape(1)
    sums = _sum_over_ranks(torch.cat([count, rows.sum(over)]))
    rows_seen = sums[0].detach()
    elements = (rows_seen * positions).clamp(min=1)
    mean = sums[1:] / elements
    deviations = (rows - mean.reshape(-1, *[1] * (event_dim - 1))) * finite
    variance = _sum_over_ranks(deviations.square().sum(over)) / elements
    return mean, variance, rows_seen


class RunningMoments(nn.Module):
    r"""μ̃ ← ρ μ̃ + (1 − ρ) μ̂, likewise σ̃², with the bias of the first steps corrected.

    Called in training, it moves the averages towards the batch's and returns the new ones, with
    gradients through the current batch's share only. With fewer than two finite rows, in
    evaluation, without gradients or under `torch.func` it returns them as they are.

    Args:
        num_features: how many features have an average each.
        decay: ρ in [0, 1); 0 gives the batch's own moments.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor

    def __init__(self, num_features: int, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay in [0, 1); got {decay}")
        self.decay = decay
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))
        # What the averages' weights sum to, 1 − ρᵗ after t batches: it corrects their bias.
        # Of one dimension: compiled code loses updates of a float64 CPU tensor that has none.
        self.register_buffer("weight", torch.zeros(1))

    def forward(self, y: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return mean and variance, of shape (num_features,), for normalising y."""
        if not self.moves():
            return self.mean, self.variance
        return self.update(*batch_moments(y, event_dim))

    def moves(self) -> bool:
        """Whether a batch that is seen now moves the averages."""
        return self.training and may_learn()

    def update(self, batch_mean: Tensor, batch_variance: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Move the averages by a batch's moments, of at least two rows, and return them."""
        enough = rows >= 2
        weight = self.decay * self.weight + (1 - self.decay)
        step = (1 - self.decay) / weight
        mean = torch.where(enough, self.mean + step * (batch_mean - self.mean), self.mean)
        variance = torch.where(enough, self.variance + step * (batch_variance - self.variance), self.variance)
        self._commit(mean, variance, torch.where(enough, weight, self.weight))
        return mean, variance

    def _commit(self, mean: Tensor, variance: Tensor, weight: Tensor) -> None:
        if torch.compiler.is_compiling():
            # Compiled code recomputes parts of the forward pass in the backward pass, and would do so
            # from buffers already changed in place (wrong gradients, torch 2.13): new ones instead.
            self.mean, self.variance, self.weight = mean.detach(), variance.detach(), weight.detach()
            return
        with torch.no_grad():
            self.mean.copy_(mean)
            self.variance.copy_(variance)
            self.weight.copy_(weight)
