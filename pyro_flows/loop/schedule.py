"""How the learning rate runs over a training."""

from __future__ import annotations

import math

__all__ = ["cosine", "falling"]


def falling(progress: float, last: float) -> float:
    """Fall along half a cosine from 1 to `last`, as `progress` goes from 0 to 1."""
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine(progress: float) -> float:
    """Rise linearly over the first 2 % of the steps, then fall along a cosine to 1 %."""
    if progress < 0.02:
        return (progress + 1e-3) / (0.02 + 1e-3)
    return falling((progress - 0.02) / 0.98, 0.01)
