"""Where in a flow its continuous part stands."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..flow import Flow
from ..transform import FlowTransform
from ..transforms import Chain, NeuralODE

__all__ = ["Around", "around", "undo"]


class Around(NamedTuple):
    """A continuous part, what stands between it and the noise, and what between it and the data."""

    before: list[FlowTransform]
    ode: NeuralODE
    after: list[FlowTransform]


def _parts(transform: FlowTransform) -> list[FlowTransform]:
    return [p for part in transform for p in _parts(part)] if isinstance(transform, Chain) else [transform]


def around(flow: Flow) -> Around:
    """Return a flow's only continuous part, and what stands on either side of it.

    Raises:
        ValueError: where it has none, or several.
    """
    parts = _parts(flow.transform)
    odes = [(i, part) for i, part in enumerate(parts) if isinstance(part, NeuralODE)]
    if len(odes) != 1:
        raise ValueError(f"expected a flow with one NeuralODE in it; got {len(odes)} of them")
    i, ode = odes[0]
    return Around(parts[:i], ode, parts[i + 1 :])


def undo(parts: list[FlowTransform], y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Take vectors through the inverses of `parts`, the last first, with the sum of their log-dets."""
    total = y.new_zeros(y.shape[:-1])
    for part in reversed(parts):
        y, log_det = part.inverse_and_log_det(y, None if part.context_shape is None else context)
        total = total + (log_det if log_det.dim() == total.dim() else log_det.sum(-1))
    return y, total
