"""One pass through the layers of a chain, in which couplings hand on an event in two parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..partitions import Partition
from ..transform import FlowTransform
from .coupling import Coupling

__all__ = ["Cut", "Step", "advance", "run", "split", "whole"]


class Step(NamedTuple):
    """A layer, how many batch dimensions of its log-det are the event's, and whether it holds chains."""

    part: FlowTransform
    excess: int
    composite: bool

    def terms(self, log_slopes: Tensor) -> Tensor:
        """Return what sums up to the log-det of the whole event in the last dimension."""
        return log_slopes.flatten(-1 - self.excess) if self.excess else log_slopes


class Cut(NamedTuple):
    """An event that a coupling has left in two parts.

    If the next coupling swaps the roles of the same parts, it takes them as they are: merging and splitting
    again was a tenth of a training step in two dimensions.
    """

    partition: Partition
    passive: Tensor
    active: Tensor


def whole(held: Tensor | Cut) -> Tensor:
    """Return a value with its parts merged."""
    return held.partition.merge(held.passive, held.active) if isinstance(held, Cut) else held


def split(held: Tensor | Cut, partition: Partition) -> tuple[Tensor, Tensor]:
    """Return the passive and the active part of a value, of which a mirrored cut only swaps the roles."""
    if isinstance(held, Cut) and partition.mirrors(held.partition):
        return held.active, held.passive
    return partition.split(whole(held))


def advance(
    step: Step, held: Tensor | Cut, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor | Cut, Tensor]:
    """Apply one step to a value; return the result and the log-det's terms along the last dimension."""
    part = step.part
    given = part.routed(context)
    if isinstance(part, Coupling):
        passive, active, log_slopes = part.move(*split(held, part.partition), given, inverse=inverse)
        return Cut(part.partition, passive, active), step.terms(log_slopes)
    evaluate = part.inverse_and_log_det if inverse else part.forward_and_log_det
    held, log_det = evaluate(whole(held), given)
    return held, step.terms(log_det.unsqueeze(-1))


def run(
    steps: Sequence[Step], value: Tensor, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Apply steps, at least one, in the order given; return the result and the sum of their log-dets."""
    held: Tensor | Cut = value
    terms = []
    for step in steps:
        held, new = advance(step, held, context, inverse=inverse)
        terms.append(new)
    return whole(held), _sum(terms)


def _sum(terms: list[Tensor]) -> Tensor:
    """Sum along the last dimension and over tensors, at once: a sum for each layer takes longer."""
    if len(terms) == 1:
        return terms[0].squeeze(-1) if terms[0].shape[-1] == 1 else terms[0].sum(-1)
    if len({t.shape[:-1] for t in terms}) > 1:
        batch = torch.broadcast_shapes(*(t.shape[:-1] for t in terms))
        terms = [t.expand(batch + t.shape[-1:]) for t in terms]
    return torch.cat(terms, -1).sum(-1)
