"""Where the units of data and context belong among the parts of a transform."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import constraints

from ..nn import RunningMoments
from ..transform import FlowTransform
from ._codomain import codomain_of
from .chain import Chain
from .units import Units

__all__ = ["in_units", "is_real", "split_at_units"]


def is_real(constraint: constraints.Constraint) -> bool:
    """Whether all numbers satisfy the constraint, element by element."""
    while isinstance(constraint, type(constraints.real_vector)):
        constraint = constraint.base_constraint
    return isinstance(constraint, type(constraints.real))


def split_at_units(
    transform: FlowTransform,
) -> tuple[list[FlowTransform], list[FlowTransform]] | None:
    """Return a transform's parts before and after the place of the units, or None if it has none.

    The place is the one next to the last part that learns, among fixed parts that stand between that
    and the data, where values are unbounded.
    """
    parts = list(transform) if isinstance(transform, Chain) else [transform]
    while True:
        last = max((i for i, part in enumerate(parts) if _learns(part)), default=-1)
        if last < 0:
            return None
        for i in range(last + 1, len(parts) + 1):
            if is_real(codomain_of(parts[:i])):
                return parts[:i], parts[i:]
        if not isinstance(parts[last], Chain):
            return None
        parts[last : last + 1] = parts[last]  # perhaps within it


def _learns(part: FlowTransform) -> bool:
    if not part.bijective:  # dequantisation, whose noise may learn, belongs to the data
        return False
    if any(t.requires_grad for t in getattr(part, "constants", ())):
        return True
    return next(part.parameters(), None) is not None or any(
        isinstance(m, RunningMoments) for m in part.modules()
    )


class _Standardized(nn.Module):
    """The context, standardised."""

    def __init__(self, units: Units) -> None:
        super().__init__()
        self.units = units

    def forward(self, context: Tensor) -> Tensor:
        return self.units.standardized(context)


def in_units(transform: FlowTransform, units: Units | None, context_units: Units | None) -> Chain:
    """Return a chain of the same parts with the units in their place."""
    parts = list(transform) if isinstance(transform, Chain) else [transform]
    places = split_at_units(transform)
    if places is not None and units is not None:
        parts = [*places[0], units, *places[1]]
    chain = Chain(parts, context_units=None if context_units is None else _Standardized(context_units))
    if isinstance(transform, Chain):
        chain.memory, chain.kept_every = transform.memory, transform.kept_every
    return chain
