"""The loss that `fit` minimises unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..flow import Flow

__all__ = ["Loss", "negative_log_likelihood", "row_losses"]

Loss = Callable[[Flow, Tensor, Tensor | None], Tensor]


def negative_log_likelihood(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return −log p(x), or −log p(x | context), of each row in nats."""
    return -flow(context).log_prob(x)


def row_losses(loss: Loss, flow: Flow, x: Tensor, context: Tensor | None) -> Tensor:
    """Return one loss a row, of shape (rows,): the mean over further batch dimensions within a row.

    Raises:
        ValueError: if the loss does not return one a row.
    """
    losses = loss(flow, x, context)
    within = max(1, x.dim() - flow.given_transform.codomain.event_dim)
    if not (1 <= losses.dim() <= within and losses.shape == x.shape[: losses.dim()]):
        beside = "" if context is None else f", from a context of shape {tuple(context.shape)}"
        raise ValueError(
            f"expected a loss that returns one a row, of shape ({len(x)},); got {tuple(losses.shape)}{beside}"
        )
    return losses if losses.dim() == 1 else losses.flatten(1).mean(1)
