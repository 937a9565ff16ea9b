"""A mixture of flows as one distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from ...flow_distribution import FlowDistribution

__all__ = ["FlowMixture"]


class FlowMixture(TorchDistribution):
    r"""q(u) = Σ_k w_k q_k(u), of flows q_k over vectors of length d; samples carry no gradient.

    Args:
        components: the q_k, of batch shape () and event shape (d,).
        log_weights: log w_k, of shape (K,); normalised here.

    Raises:
        ValueError: if there are not as many weights as components, or there is none.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, components: Sequence[FlowDistribution], log_weights: Tensor) -> None:
        if not components or log_weights.shape != (len(components),):
            raise ValueError(
                f"expected one log weight for each of ≥ 1 components; got {len(components)} components and "
                f"weights of shape {tuple(log_weights.shape)}"
            )
        self.components = tuple(components)
        self.log_weights = log_weights - log_weights.logsumexp(0)
        super().__init__(Size(), components[0].event_shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> FlowMixture:
        """Return the distribution with another batch shape, sharing everything."""
        new: FlowMixture = self._get_checked_instance(FlowMixture, _instance)
        new.components, new.log_weights = self.components, self.log_weights
        super(FlowMixture, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def joint_log_probs(self, value: Tensor) -> Tensor:
        """Return log w_k + log q_k(u) of vectors of shape (*batch, d), as (*batch, K)."""
        parts = torch.stack([one.log_prob(value) for one in self.components], -1)
        return parts + self.log_weights

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(u) of vectors of shape (*batch, d), as (*batch,)."""
        return self.joint_log_probs(value).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw vectors, of shape (*sample_shape, *batch_shape, d), each of a component of its own."""
        shape = self._extended_shape(Size(sample_shape))
        count = shape[:-1].numel()
        chosen = torch.multinomial(self.log_weights.exp(), max(count, 1), replacement=True)[:count]
        draws = self.log_weights.new_empty(count, shape[-1])
        for k, one in enumerate(self.components):
            rows = (chosen == k).nonzero()[:, 0]
            draws[rows] = one.sample((len(rows),)).to(draws)
        return draws.reshape(shape)
