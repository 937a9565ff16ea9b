"""Which cases stand for all others where a law takes long: a few small ones with every kind of part."""

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
    """Return the names of the cases that are left when the largest go whose kinds of parts others hold."""
    size = {name: len(list(case.example.modules())) for name, case in cases.items()}
    held = {name: kinds(case.example) for name, case in cases.items()}
    kept = set(cases)
    # Of cases of equal size the first stays.
    for _, name in sorted(((-size[name], -i), name) for i, name in enumerate(cases)):
        rest = kept - {name}
        if held[name] <= set().union(*(held[other] for other in rest)):
            kept = rest
    return kept
