"""What the values of a chain are constrained to, after parts that move or rescale bounded elements."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributions import AffineTransform, constraints

from ..transform import FlowTransform
from .foreign import Foreign
from .permutation import Permutation

__all__ = ["codomain_of"]

_ABOVE = (constraints.greater_than, constraints.greater_than_eq)
_BETWEEN = (constraints.interval, constraints.half_open_interval)


def codomain_of(parts: Iterable[FlowTransform]) -> constraints.Constraint:
    """Return the constraint of the last part's values, given the parts before it.

    A part that accepts all real numbers declares the real numbers as its codomain. After a sigmoid, though,
    a permutation leaves the interval as it was, and torch's affine transform maps it to another interval.
    """
    found: constraints.Constraint = constraints.real
    for part in parts:
        bounded = _element(found)
        found = part.codomain
        if bounded is None or _element(found) is not constraints.real:
            continue
        if isinstance(part, Permutation):
            moved = None if _varies(bounded) else bounded
        elif isinstance(part, Foreign) and isinstance(part.foreign, AffineTransform):
            moved = _affine(bounded, part.foreign)
        else:
            moved = None
        if moved is not None:
            found = constraints.independent(moved, found.event_dim) if found.event_dim else moved
    return found


def _element(constraint: constraints.Constraint) -> constraints.Constraint | None:
    """Return what each element is constrained to, or None if the constraint is one of whole events."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint if constraint.event_dim == 0 else None


def _varies(element: constraints.Constraint) -> bool:
    """Whether bounds differ from element to element."""
    return any(isinstance(bound, Tensor) and bound.numel() > 1 for bound in vars(element).values())


def _affine(element: constraints.Constraint, transform: AffineTransform) -> constraints.Constraint | None:
    loc, scale = transform.loc, transform.scale
    sign = torch.as_tensor(scale).sign().flatten()
    if not bool((sign == sign[0]).all()) or sign[0] == 0:
        return None
    rising = bool(sign[0] > 0)
    if isinstance(element, _BETWEEN):
        low, high = (loc + scale * bound for bound in (element.lower_bound, element.upper_bound))
        return constraints.interval(low, high) if rising else constraints.interval(high, low)
    if isinstance(element, _ABOVE):
        bound = loc + scale * element.lower_bound
        return constraints.greater_than(bound) if rising else constraints.less_than(bound)
    if isinstance(element, constraints.less_than):
        bound = loc + scale * element.upper_bound
        return constraints.less_than(bound) if rising else constraints.greater_than(bound)
    return None
