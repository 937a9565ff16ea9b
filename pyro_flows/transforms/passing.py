"""One pass through the layers of a chain, in which couplings hand on an event in two parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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

    def summed(self, log_det: Tensor) -> Tensor:
        """Return the log-det of the whole event."""
        return log_det.flatten(-self.excess).sum(-1) if self.excess else log_det


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
    """Apply one step to a value; return the result and its log-det."""
    part = step.part
    given = part.routed(context)
    if isinstance(part, Coupling):
        passive, active, log_det = part.move(*split(held, part.partition), given, inverse=inverse)
        held = Cut(part.partition, passive, active)
    elif inverse:
        held, log_det = part.inverse_and_log_det(whole(held), given)
    else:
        held, log_det = part.forward_and_log_det(whole(held), given)
    return held, step.summed(log_det)


def run(
    steps: Sequence[Step], value: Tensor, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Apply steps, at least one, in the order given; return the result and the sum of their log-dets."""
    held, total = advance(steps[0], value, context, inverse=inverse)
    for step in steps[1:]:
        held, log_det = advance(step, held, context, inverse=inverse)
        total = total + log_det
    return whole(held), total
