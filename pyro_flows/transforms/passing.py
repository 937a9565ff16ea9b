"""One pass through layers: the value, the summed log-det, and the cut that mirrored couplings share."""

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
    """A value that a coupling has left in two parts.

    The next one, if it moves the other side of the same cut, takes them as they are: putting them
    together and apart again was a tenth of a training step in two dimensions.
    """

    partition: Partition
    passive: Tensor
    active: Tensor


def whole(held: Tensor | Cut) -> Tensor:
    """Put a value together."""
    return held.partition.merge(held.passive, held.active) if isinstance(held, Cut) else held


def split(held: Tensor | Cut, partition: Partition) -> tuple[Tensor, Tensor]:
    """Return the passive and the active part of a value."""
    if isinstance(held, Cut) and partition.mirrors(held.partition):
        return held.active, held.passive
    return partition.split(whole(held))


def advance(
    step: Step, held: Tensor | Cut, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor | Cut, Tensor]:
    """Return what one step makes of a value, and its log-det."""
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
    """Return what one step or more, in the order given, make of `value`, and the sum of their log-dets."""
    held, total = advance(steps[0], value, context, inverse=inverse)
    for step in steps[1:]:
        held, log_det = advance(step, held, context, inverse=inverse)
        total = total + log_det
    return whole(held), total
