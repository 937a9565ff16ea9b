"""Whether the layers of a chain mean the same pixel values."""

from __future__ import annotations

from collections.abc import Iterable

from ..transform import FlowTransform
from .permutation import Permutation
from .reshape import Reshape
from .squeeze import Squeeze

__all__ = ["check_levels"]


def check_levels(layers: Iterable[FlowTransform]) -> None:
    """Compare the `levels` of layers that follow one another, those apart that only move pixels.

    Raises:
        ValueError: if two of them differ, as in LogitPixels(levels=256) before Dequantize(levels=17).
    """
    before: int | None = None
    for layer in layers:
        levels: int | None = getattr(layer, "levels", None)
        if levels is not None and before not in (None, levels):
            raise ValueError(f"expected neighbours with one number of levels; got {before} and {levels}")
        if levels is not None or not isinstance(layer, Permutation | Reshape | Squeeze):
            before = levels
