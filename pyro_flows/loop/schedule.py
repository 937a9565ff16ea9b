"""How the learning rate runs over a training."""

from __future__ import annotations

import math

__all__ = ["cosine"]


def cosine(progress: float) -> float:
    """Rise linearly over the first 2 % of the steps, then fall along a cosine to 1 %."""
    if progress < 0.02:
        return (progress + 1e-3) / (0.02 + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))
