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
    """Name what made the first non-finite value in scoring `data`: a row, a layer or the base."""
    rows = data.flatten(1) if data.dim() > 1 else data[:, None]
    bad = (~rows.isfinite().all(-1)).nonzero().flatten()
    if len(bad):
        return f"the data: row {int(bad[0])} of the batch holds a NaN or an infinity"
    if not all(_finite(p) for p in flow.parameters()):
        name = next(n for n, p in flow.named_parameters() if not _finite(p))
        return f"the parameter {name}"
    with torch.no_grad():
        _, found = _inwards(flow.transform, "transform", data, context)
    return found or "the base distribution's log_prob"


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
