"""The loss that `fit` minimises unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..flow import Flow

__all__ = ["Loss", "negative_log_likelihood"]

Loss = Callable[[Flow, Tensor, Tensor | None], Tensor]


def negative_log_likelihood(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return −log p(x), or −log p(x | context), of each row in nats."""
    return -flow(context).log_prob(x)
