"""The inverse of an increasing map that has none in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._tracing import is_traced

Map = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_ITERATIONS = 64  # sharp mixtures take up to 45
# Traced code cannot stop early, and is as long as its iterations: 10 do for most mixtures.
_TRACED_ITERATIONS = 20
_LOG_STEEPEST = 40.0


def invert(g: Map, y: Tensor, params: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return x with g(x; θ) = y, differentiable in y and θ.

    Newton's method within a bracket that bisection narrows: a step that leaves the bracket, or is more
    than half as long as the last one, gives way to a bisection. Elements that have converged rest, so
    that none depends on another; eager code stops when all do, traced code after a fixed number of steps.

    Args:
        g: maps x and params to the value and its log-derivative.
        y: the values to invert.
        params: θ.
        low: where g is at most y; of y's shape.
        high: where g is at least y; of y's shape.
    """
    with torch.no_grad():
        x = _root(g, y.detach(), params.detach(), low.detach(), high.detach())
    # Each Newton step from a root doubles the order of the derivatives that are right: after two, three.
    for _ in range(2):
        value, log_slope = g(x, params)
        # If the map is flat, any point there is a root: it contributes a slope, but no step.
        step = (y - value) * (-log_slope).clamp(max=_LOG_STEEPEST).exp()
        x = x + torch.where(step.abs() <= 1e-3 * (1 + x.abs()), step, step - step.detach())
    return x


def _root(g: Map, y: Tensor, params: Tensor, low: Tensor, high: Tensor) -> Tensor:
    traced = y.is_meta or is_traced()
    tolerance = torch.finfo(y.dtype).eps ** (2 / 3)  # the two steps that follow do the rest
    x, last = (low + high) / 2, high - low
    resting = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(_TRACED_ITERATIONS if traced else _ITERATIONS):
        value, log_slope = g(x, params)
        above = value >= y
        low, high = torch.where(above, low, x), torch.where(above, x, high)
        step = (y - value) * (-log_slope).exp()
        middle = (low + high) / 2 - x
        good = (x + step >= low) & (x + step <= high) & (step.abs() <= last / 2)
        step = torch.where(good, step, middle)
        # Not "is at most": a NaN rests too.
        resting = resting | ~(step.abs() > tolerance * (1 + x.abs()))
        x, last = torch.where(resting, x, x + step), step.abs()
        if not traced and bool(resting.all()):
            break
    return x
