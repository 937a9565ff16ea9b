"""The continuous part of a flow, and the layers on either side of it."""

from __future__ import annotations

from typing import NamedTuple

from ..flow import Flow
from ..transform import FlowTransform
from ..transforms import NeuralODE
from ..transforms.chain import chained

__all__ = ["Around", "around"]


class Around(NamedTuple):
    """A continuous part, the layers between the noise and it, and those between it and the data.

    Both lists begin at the layer that is nearest to the data.
    """

    before: list[FlowTransform]
    ode: NeuralODE
    after: list[FlowTransform]


def around(flow: Flow) -> Around:
    """Return a flow's only continuous part, and the layers on either side of it.

    Raises:
        ValueError: if it has none, or several.
    """
    layers = [layer for _, layer in chained(flow.transform)]
    odes = [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, NeuralODE)]
    if len(odes) != 1:
        raise ValueError(f"expected a flow with one NeuralODE in it; got {len(odes)} of them")
    i, ode = odes[0]
    return Around(layers[i + 1 :], ode, layers[:i])
