"""A transform's twin that shares its values, but takes no gradient."""

from __future__ import annotations

import copy

from ...transform import FlowTransform

__all__ = ["held_fixed"]


def held_fixed(transform: FlowTransform) -> FlowTransform:
    """Return a copy whose parameters and buffers are the transform's own memory and need no gradient.

    One optimiser step moves both. The copy is in evaluation mode, so that it moves no statistics.
    """
    twin = copy.deepcopy(transform).eval()
    live = [*transform.parameters(), *transform.buffers()]
    for tensor, alias in zip(live, [*twin.parameters(), *twin.buffers()], strict=True):
        alias.data = tensor.data
        alias.requires_grad_(False)
    return twin
