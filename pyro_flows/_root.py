"""Roots of increasing functions, element by element. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["increasing_root"]


def increasing_root(
    g: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, low: Tensor, high: Tensor, *, rounds: int = 40
) -> Tensor:
    """Return x in [low, high] with g(x) = y, differentiable in y and in whatever g depends on.

    Newton's method within a bracket that every round narrows, and halves where Newton's step does not: the
    same operations for any input, so that it compiles and no element depends on another. The gradient is
    the implicit function theorem's, −∂g/∂θ ÷ g′, by one last Newton step outside the search.

    Args:
        g: gives the value and the (positive) slope at each element of x.
        y: the value wanted.
        low: where g is at most y.
        high: where g is at least y.
        rounds: evaluations of g; 40 halve a bracket to a millionth of a millionth in the worst case.
    """
    with torch.no_grad():
        x, step = 0.5 * (low + high), high - low
        for _ in range(rounds):
            value, slope = g(x)
            over = value > y
            low, high = torch.where(over, low, x), torch.where(over, x, high)
            newton = x - (value - y) / slope
            good = (newton > low) & (newton < high) & ((newton - x).abs() < 0.5 * step.abs())
            found = torch.where(good, newton, 0.5 * (low + high))
            x, step = found, found - x
    x = x.detach()
    value, slope = g(x)
    return x - (value - y) / slope.detach()
