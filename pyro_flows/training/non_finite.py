"""Which layer made the first NaN or infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flow import Flow
from ..transform import FlowTransform, Inverse
from ..transforms.walk import Walk

__all__ = ["first_non_finite"]


def first_non_finite(flow: Flow, data: Tensor, context: Tensor | None = None) -> str:
    """Name what made the first non-finite value in scoring `data`: a row, a weight, a layer, a gradient."""
    for name, rows in (("data", data), ("context", context)):
        if rows is not None and not _finite(rows):
            bad = ~rows.isfinite().reshape(len(rows), -1).all(-1)
            return f"the {name}: row {int(bad.nonzero()[0])} of the batch holds a NaN or an infinity"
    for name, parameter in flow.named_parameters():
        if not _finite(parameter):
            return f"the parameter {name}"
    with torch.no_grad():
        walk = Walk(flow.transform, data, context)
        for visit in walk:
            if not _finite(*visit.score()):
                return f"the layer {visit.name} ({_kind(visit.layer)})"
        if not _finite(flow(context).base_dist.log_prob(walk.x)):
            return "the base distribution's log_prob"
    for name, parameter in flow.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}"
    return "a sum over rows or layers"


def _finite(*values: Tensor) -> bool:
    return all(bool(v.isfinite().all()) for v in values)


def _kind(layer: FlowTransform) -> str:
    return f"{_kind(layer.transform)}.inv" if isinstance(layer, Inverse) else type(layer).__name__
