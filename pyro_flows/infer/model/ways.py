"""Running a model at many draws in a given way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from .batches import Values, count_of, one_of, stacked
from .detaching import detaching
from .how import PLATE, VMAP
from .joint import Joint

__all__ = ["Body", "run"]

Body = Callable[..., Any]


def run(
    way: str, joint: Joint, body: Body, values: Values, *, randomness: str = "same", detach: bool = False
) -> Any:
    """Return what a method of `joint` returns of each draw.

    Args:
        way: "plate", "vmap" or "loop".
        joint: the log-joint of a model.
        body: its method.
        values: the draws, of shape (draws, *site) each.
        randomness: of vmap, "same" or "different" for each draw.
        detach: whether vmap needs ``tensor.detach()`` in place of ``tensor.data``.
    """
    count = count_of(values)
    if way == PLATE and count > 1:
        return body(joint.layout.arrange(values), count)
    if way == VMAP and count > 1:
        with warnings.catch_warnings():
            # Some operations are done one by one inside: no slower than all of them.
            warnings.filterwarnings("ignore", "There is a performance drop")
            mapped = torch.func.vmap(detaching(body) if detach else body, randomness=randomness)
            return mapped(dict(values))
    return stacked([body(one_of(values, i)) for i in range(count)])
