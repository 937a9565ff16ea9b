"""Quasi-random points of the standard normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["normal_points"]


def normal_points(count: int, dim: int) -> Tensor:
    """Return scrambled Sobol points, the same at each call, mapped to N(0, I); of shape (count, dim)."""
    engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0)
    uniform = engine.draw(count, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    return math.sqrt(2) * torch.erfinv(2 * uniform - 1)
