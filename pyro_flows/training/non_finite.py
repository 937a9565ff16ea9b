"""Which layer made the first NaN or infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flow import Flow
from ..transform import FlowTransform
from ..transforms import Chain

__all__ = ["first_non_finite"]


def _finite(*values: Tensor) -> bool:
    return all(bool(v.isfinite().all()) for v in values)


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
        x, found = _inwards(flow.transform, "transform", data, context)
        if found:
            return found
        if not _finite(flow(context).base_dist.log_prob(x)):
            return "the base distribution's log_prob"
    for name, parameter in flow.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}"
    return "a sum over rows or layers"


def _inwards(
    transform: FlowTransform, name: str, y: Tensor, context: Tensor | None
) -> tuple[Tensor, str | None]:
    if isinstance(transform, Chain):
        for i in reversed(range(len(transform))):
            part = transform[i]
            given = None if part.context_shape is None else context
            y, found = _inwards(part, f"{name}.parts.{i}", y, given)
            if found:
                return y, found
        return y, None
    x, log_det = transform.inverse_and_log_det(y, context)
    return x, None if _finite(x, log_det) else f"the layer {name} ({type(transform).__name__})"
