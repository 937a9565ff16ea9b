"""The map of a column's numbers to normal scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..elementwise.spline import rational_quadratic
from .normal import ndtr
from .values import Array
from .whole import widths

__all__ = ["LEAST", "Scores"]

LEAST = 1e-100  # that values span
FAR = 1000  # times the width of the values' middle


class Scores:
    r"""z = g(t), increasing from all of R onto all of R: Φ(g(t)) is a column's cumulative distribution.

    Between the knots (t_i, z_i) g is a monotone rational-quadratic spline. Beyond the last one,

    z² = z_m² + (2 / ξ) log(1 + ξ (t − t_m) / s),

    so that the probability of more falls as the power −1 / ξ of t: a cell however absurd has a moderate
    score. s makes the slope continuous. With ξ = 0 the spline goes on as a straight line, for logarithms and
    logits, whose tails are short. The same, mirrored, below the first knot.

    Gregory & Delbourgo, "Piecewise Rational Quadratic Interpolation to Monotonic Data", 1982.

    Args:
        knots: t_i, increasing, of shape (m,) with m ≥ 2.
        scores: z_i, increasing, the first negative and the last positive.
        tails: ξ ≥ 0 below and above.
    """

    def __init__(self, knots: Tensor, scores: Tensor, tails: tuple[float, float]) -> None:
        self.knots, self.scores, self.tails = knots.double(), scores.double(), tails
        steps, rises = self.knots.diff(), self.scores.diff()
        secants = rises / steps
        # Fritsch and Butland's harmonic mean; the outer slopes are the secants'.
        w = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
        share = w[0] / (w[0] + w[1])
        inner = 1 / (share / secants[:-1] + (1 - share) / secants[1:])
        self._slopes = torch.cat([secants[:1], inner, secants[-1:]])
        self._sizes = torch.stack([steps, rises], -1)

    @classmethod
    def of(cls, values: Array, weights: Array, *, straight: bool) -> Scores:
        """Return the map that makes `values` normal: knots at their quantiles, and tails, if not straight."""
        order = np.argsort(values, kind="stable")
        values, weights = values[order], weights[order]
        if not values[-1] - values[0] > LEAST:  # slopes would overflow
            raise ValueError(f"expected values that span more than {LEAST}; got {values[-1] - values[0]:.3g}")
        total = weights.sum()
        cumulated = (weights.cumsum() - weights / 2) / total
        beyond = min(20.0, max(2.0, 0.5 * total**0.5))  # rows outside each outer knot
        outer = -_ndtri(min(0.25, beyond / total))
        spacing = max(0.25, 1.6 * total**-0.2)
        scores = np.linspace(-outer, outer, 2 + round(2 * outer / spacing))
        knots = np.interp(_ndtr(scores), cumulated, values)
        # Of knots at one place the first. What is one place, the bulk tells: a few cells may be −3.4e38.
        bulk = np.diff(np.interp([0.1, 0.9], cumulated, values)).item() or knots[-1] - knots[0]
        keep = np.append(True, np.diff(knots) > max(1e-9 * bulk, LEAST))
        if keep.sum() < 2:  # nearly all values are one
            knots, scores, keep = values[[0, -1]], scores[[0, -1]], np.array([True, True])
        knots, last = knots[keep], scores[-1]
        scores = scores[keep]
        scores[-1] = last
        tails = (0.0, 0.0) if straight else _tail_indices(values, weights)
        return cls(torch.tensor(knots), torch.tensor(scores), tails)

    @classmethod
    def of_counts(cls, values: Array, counts: Array, *, lowest: float = -math.inf) -> Scores:
        """Return the map for whole numbers, the number k being the interval [k, k + 1) of t.

        A frequent number has knots at both its ends; rare neighbours share an interval, unless they are as
        far apart as what stands for a missing number is from the others.

        Args:
            values: the numbers that occur, increasing, at least two, as doubles.
            counts: how often they do.
            lowest: the least possible number.
        """
        enough = max(5.0, counts.sum() ** 0.5)
        units = widths(values)
        ends = np.maximum.accumulate(values + units)
        tenth = len(values) // 10
        far = FAR * (values[-1 - tenth] - values[tenth])
        edges, cumulated, since = [values[0]], [0.0], 0.0

        def close(edge: float) -> None:
            nonlocal since
            if edge > edges[-1]:
                edges.append(edge)
                cumulated.append(cumulated[-1])
            cumulated[-1] += since
            since = 0.0

        for k, (value, end, count) in enumerate(zip(values, ends, counts, strict=True)):
            is_far = k > 0 and value - ends[k - 1] > far
            if is_far:
                close(ends[k - 1])
            if value > edges[-1] and (is_far or count >= enough):
                since = since or 0.5  # half a row for all the numbers between
                close(value)
            since += count
            if since >= enough or k == len(values) - 1:
                close(end)
        below = 0.0 if values[0] <= lowest else 0.5  # what is left for numbers not yet seen
        levels = (np.array(cumulated) + below) / (cumulated[-1] + below + 0.5)
        knots = np.array(edges, dtype=np.float64)
        if not below:
            knots, levels = knots[1:], levels[1:]  # the lowest number reaches down to −∞
        if len(knots) < 2:
            knots = np.append(knots, knots[-1] + units[-1])
            levels = np.append(levels, (1 + levels[-1]) / 2)
        lower, upper = _tail_indices(values, counts)
        tails = (lower if below else 0.0, upper)
        return cls(torch.tensor(knots), torch.tensor(_ndtri(levels)), tails)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log dz/dt."""
        z, slope = self._spline(t, inverse=False)
        for above in (False, True):
            excess = t - self.knots[-1] if above else self.knots[0] - t
            beyond, excess = excess > 0, excess.clamp(min=0)
            corner, steepness, xi = self._end(above)
            if xi:
                # log(1 + ξ (t − t_m) / s), of a quotient that may be too large for a number.
                log_scale = -math.log(corner) - math.log(steepness)
                quotient = (excess.clamp(min=1e-300) * xi).log() - log_scale
                log_growth = torch.nn.functional.softplus(quotient, threshold=50)
                grown = (corner**2 + 2 / xi * log_growth).sqrt()
                grown_slope = -grown.log() - log_scale - log_growth
            else:
                grown, grown_slope = corner + steepness * excess, torch.full_like(z, math.log(steepness))
            z = torch.where(beyond, grown if above else -grown, z)
            slope = torch.where(beyond, grown_slope, slope)
        return z, slope

    def inverse(self, z: Tensor) -> Tensor:
        """Return t; a score too large for a number gives an infinity."""
        first, last = self.scores[0], self.scores[-1]
        t = self._spline(z, inverse=True)[0]
        for above in (False, True):
            corner, steepness, xi = self._end(above)
            beyond, size = (z > last, z) if above else (z < first, -z)
            if xi:
                excess = torch.expm1(xi / 2 * (size.square() - corner**2)) / (xi * corner * steepness)
            else:
                excess = (size - corner) / steepness
            t = torch.where(beyond, self.knots[-1] + excess if above else self.knots[0] - excess, t)
        return t

    def _spline(self, value: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the spline, or its inverse, of values taken to the nearest knot if outside, and log-slopes.

        Each value is counted from its own bin's corner: others may lie at a distance that swallows it.
        """
        starts, ends = (self.scores, self.knots) if inverse else (self.knots, self.scores)
        inside = _between(value, starts[0], starts[-1])
        place = torch.searchsorted(starts[1:-1].contiguous(), inside.detach().contiguous(), right=True)
        sizes, slopes = (
            self._sizes[place][..., None],
            torch.stack((self._slopes[place], self._slopes[place + 1]), -1),
        )
        moved, slope = rational_quadratic(inside - starts[place], sizes, slopes, 0.0, -1, inverse=inverse)
        return ends[place] + moved, slope

    def _end(self, above: bool) -> tuple[float, float, float]:
        """Return the outer knot's score, positive towards the outside, the slope there, and ξ."""
        end = -1 if above else 0
        return float(self.scores[end]) * (1 if above else -1), float(self._slopes[end]), self.tails[above]

    def state(self) -> dict[str, Any]:
        """Return plain values to save."""
        return {"knots": self.knots.tolist(), "scores": self.scores.tolist(), "tails": list(self.tails)}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Scores:
        """Return the map that `state` is of."""
        double = torch.float64
        knots, scores = (torch.tensor(state[name], dtype=double) for name in ("knots", "scores"))
        return cls(knots, scores, tuple(state["tails"]))


def _tail_indices(values: Array, weights: Array) -> tuple[float, float]:
    """Return ξ of both tails: Pickands' estimate less two standard errors, within 0.05 … 1.

    Pickands, "Statistical Inference Using Extreme Order Statistics", 1975.
    """

    def of(values: Array, weights: Array) -> float:
        levels = weights.cumsum() / weights.sum()
        near, far = np.diff(values[np.minimum(np.searchsorted(levels, [0.8, 0.9, 0.95]), len(values) - 1)])
        if not (near > 0 and far > 0):
            return 0.05
        error = 1.8 / math.sqrt(0.05 * weights.sum())
        return min(1.0, max(0.05, math.log2(far) - math.log2(near) - 2 * error))

    return of(-values[::-1], weights[::-1]), of(values, weights)


def _ndtri(p: Any) -> Any:
    return torch.special.ndtri(torch.as_tensor(p, dtype=torch.float64)).numpy()


def _ndtr(z: Array) -> Array:
    result: Array = ndtr(torch.as_tensor(z, dtype=torch.float64)).numpy()
    return result


def _between(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return x between bounds, with a gradient of one at both: `clamp`'s differs between torch's versions."""
    return torch.where(x < low, low, torch.where(x > high, high, x))
