"""The part of a column whose numbers are in order and too many to list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .normal import log_mass, log_normal
from .scores import Scores
from .values import Array
from .whole import difference, moved, widths

if TYPE_CHECKING:
    from .kinds import Kind

__all__ = ["Body"]

MOST = float(np.finfo(np.float64).max)


class Body:
    """The distribution of a number x in (low, high), or of a whole number x ≥ low, before any flow.

    A real number's normal score is g(t) with t = x, log(x − low), or the logit of x between its bounds. A
    whole number k is the interval of scores from g(k) to g(k + 1).

    Args:
        scores: g.
        low: the least value, −∞ for none.
        high: the largest, ∞ for none; only beside a low one.
        whole: whether numbers are whole.
        origin: what is subtracted from x first, in the column's own precision.
    """

    def __init__(self, scores: Scores, *, low: float, high: float, whole: bool, origin: int | float) -> None:
        self.scores, self.low, self.high, self.whole, self.origin = scores, low, high, whole, origin

    @classmethod
    def of(cls, x: Array, weights: Array, *, low: float, high: float, whole: bool) -> Body:
        """Return the body of a column that holds the numbers `x`."""
        if whole:
            # From the median, around which numbers lie thick: one far off cannot blur them.
            origin = np.sort(x)[len(x) // 2].item()
            values, inverse = np.unique(_shifted(x, origin), return_inverse=True)
            counts = np.bincount(inverse, weights)
            seen = counts > 0
            scores = Scores.of_counts(values[seen], counts[seen], lowest=low - origin)
            return cls(scores, low=low, high=high, whole=True, origin=origin)
        origin = float(np.median(x)) if math.isinf(low) else 0.0
        line, _ = _to_line(x, low, high, origin)
        scores = Scores.of(line, weights, straight=math.isfinite(low))
        return cls(scores, low=low, high=high, whole=False, origin=origin)

    def encode(self, x: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Return the lowest and highest score of each number, and its log-probability or log-density."""
        if not self.whole:
            line, slope = _to_line(x, self.low, self.high, self.origin)
            z, log_slope = self.scores.forward(torch.from_numpy(line))
            return z, z, log_slope + torch.from_numpy(slope) + log_normal(z)
        steps = _shifted(x, self.origin)
        k, width = torch.from_numpy(steps), torch.from_numpy(widths(steps))
        (lower, _), (upper, _) = self.scores.forward(k), self.scores.forward(k + width)
        lower = torch.where(torch.from_numpy(np.asarray(x <= self.low)), -math.inf, lower)
        # Seconds of a century, say, lie closer than a difference of two probabilities can tell.
        middle, log_slope = self.scores.forward(k + width / 2)
        narrow = upper - lower < 1e-5
        shared = log_mass(lower, upper) - width.log()
        return lower, upper, torch.where(narrow, log_normal(middle) + log_slope, shared)

    def decode(self, z: Tensor) -> Array:
        """Return the numbers with these scores."""
        t = np.clip(self.scores.inverse(z).numpy(), -MOST, MOST)
        if self.whole:
            k = np.floor(t)
            if isinstance(self.origin, int):
                x = moved(k, self.origin, np.dtype(np.int64 if math.isinf(self.low) else np.uint64))
            else:
                x = k + self.origin
            if math.isinf(self.low):
                return x
            lowest = type(self.origin)(self.low)
            if self.scores.knots[0] == float(lowest + 1 - self.origin):  # it reaches down to −∞
                x[(z < self.scores.scores[0]).numpy()] = lowest
            return np.maximum(x, lowest)
        if math.isinf(self.low):
            return np.clip(t + self.origin, -MOST, MOST)
        if math.isinf(self.high):
            with np.errstate(over="ignore"):
                return self.low + np.clip(np.exp(t), np.finfo(np.float64).tiny, MOST)
        x = self.low + (self.high - self.low) * torch.sigmoid(torch.from_numpy(t)).numpy()
        inner: Array = np.clip(x, np.nextafter(self.low, self.high), np.nextafter(self.high, self.low))
        return inner

    def accepts(self, x: Array) -> Array:
        """Tell which numbers are possible."""
        if self.whole:
            inside: Array = (x >= self.low) & (x == np.floor(x))
            return inside
        return (x > self.low) & (x < self.high) & np.isfinite(x)

    def explain(self, kind: Kind) -> str:
        """Return where most numbers lie."""
        ends = self.decode(torch.tensor([-2.3263, 2.3263], dtype=torch.float64))  # 1 % and 99 %
        if kind.unit is not None:
            times = ends.astype(np.int64).astype(f"datetime64[{kind.unit}]")
            return f"{times[0]} … {times[1]}"
        return f"{ends[0]:.6g} … {ends[1]:.6g}"

    def state(self) -> dict[str, Any]:
        """Return plain values to save."""
        names = ("low", "high", "whole", "origin")
        return {name: getattr(self, name) for name in names} | {"scores": self.scores.state()}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Body:
        """Return the body that `state` is of."""
        return cls(**{**state, "scores": Scores.of_state(state["scores"])})


def _shifted(x: Array, origin: int | float) -> Array:
    """Return x − origin, as doubles."""
    if isinstance(origin, int) and x.dtype.kind in "iu":
        return difference(x, origin)
    shifted: Array = (x - float(origin)).astype(np.float64)
    return shifted


def _to_line(x: Array, low: float, high: float, origin: float) -> tuple[Array, Array]:
    """Return t and log dt/dx."""
    if math.isinf(low):
        t = (x - origin).astype(np.float64)
        return t, np.zeros_like(t)
    above = np.log(x - low)
    if math.isinf(high):
        return above, -above
    below = np.log(high - x)
    return above - below, np.log(high - low) - above - below
