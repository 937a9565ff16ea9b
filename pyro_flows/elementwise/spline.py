"""Rational-quadratic splines: positive bin sizes, and the map within a bin."""

from __future__ import annotations

import torch
from torch import Size, Tensor


def bin_sizes(raw: Tensor, total: float, smallest: float, dim: int) -> Tensor:
    """Return positive sizes along `dim` that sum to `total`, none below the fraction `smallest` of it."""
    free = 1 - smallest * raw.shape[dim]
    return raw.softmax(dim) * (free * total) + smallest * total


def rational_quadratic(
    value: Tensor, sizes: Tensor, slopes: Tensor, start: float, dim: int, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    r"""Return the spline, or its inverse, at `value`, and the logarithm of that one's derivative.

    Args:
        value: where to evaluate, within the knots.
        sizes: the K widths and the K heights of the bins, stacked in the dimension before `dim`.
        slopes: the derivatives at the K + 1 knots.
        start: both coordinates of the first knot.
        dim: the dimension, from the right, that counts bins; `value` lacks it.
        inverse: evaluate the inverse.
    """
    begins = sizes.cumsum(dim) - sizes + start
    # The knots that decide lie on the axis that `value` lies on: heights for the inverse.
    inner = begins.select(dim - 1, int(inverse)).narrow(dim, 1, sizes.shape[dim] - 1)
    index = (value.unsqueeze(dim) >= inner).sum(dim, keepdim=True)
    pair = index.unsqueeze(dim - 1)
    width, height = _pick(sizes, pair, dim).unbind(dim)
    x_0, y_0 = _pick(begins, pair, dim).unbind(dim)
    # In units of the bin both coordinates run from 0 to 1, and the derivatives at its ends are a and b.
    slope = height / width
    a, b = _pick(slopes, index, dim) / slope, _pick(slopes, index + 1, dim) / slope
    bend = a + b - 2
    u = _solve((value - y_0) / height, a, bend) if inverse else (value - x_0) / width
    left = 1 - u
    product = u * left
    below = 1 + bend * product
    log_slope = (slope * (b * u.square() + 2 * product + a * left.square()) / below.square()).log()
    if inverse:
        return x_0 + u * width, -log_slope
    return y_0 + height * u * (u + a * left) / below, log_slope


def _solve(v: Tensor, a: Tensor, bend: Tensor) -> Tensor:
    """Return the u in [0, 1] with (1 − p) u² + p u = v, where p = a − v · bend, without cancellation."""
    p = a - v * bend
    # Positive in exact arithmetic; rounding must not make it a NaN.
    root = ((p - 2 * v).square() + 4 * v * (1 - v)).clamp(min=torch.finfo(v.dtype).tiny).sqrt()
    positive, large = p >= 0, root + p.abs()
    return torch.where(positive, 2 * v, large) / torch.where(positive, large, 2 - 2 * p)


def _pick(table: Tensor, index: Tensor, dim: int) -> Tensor:
    """Gather along `dim` and drop it; the other dimensions broadcast."""
    shape = torch.broadcast_shapes(table.select(dim, 0).shape, index.select(dim, 0).shape)
    at = len(shape) + 1 + dim

    def spread(tensor: Tensor) -> Tensor:
        return tensor.expand(Size([*shape[:at], tensor.shape[dim], *shape[at:]]))

    return spread(table).gather(dim, spread(index)).squeeze(dim)
