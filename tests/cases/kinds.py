"""Which cases stand for all others where a law takes long: the first one of each kind of part."""

from __future__ import annotations

from collections.abc import Mapping

from pyro_flows import FlowTransform
from pyro_flows.elementwise import Compose, Elementwise

from .case import Case

__all__ = ["kinds", "standing_for_all"]


def kinds(transform: FlowTransform) -> set[object]:
    """Return the classes of a transform's layers and of all their parts, and whether it takes a context."""
    found: set[object] = set() if transform.context_shape is None else {"context"}
    for module in transform.modules():
        if type(module).__module__.startswith("pyro_flows"):
            found.add(type(module))
        for part in vars(module).values():
            if isinstance(part, Elementwise):
                found |= {type(p) for p in (part.maps if isinstance(part, Compose) else [part])}
    return found


def standing_for_all(cases: Mapping[str, Case]) -> set[str]:
    """Return the names of the cases that hold a kind of part which no earlier case holds."""
    seen: set[object] = set()
    names = set()
    for name, case in cases.items():
        new = kinds(case.example) - seen
        if new:
            names.add(name)
            seen |= new
    return names
