"""Whether independent fits have found different modes of a posterior."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from torch import Tensor

__all__ = ["Place", "modes_apart"]

APART = 1.0  # standard deviations
FAR = 0.5  # nats of half the log-weights' variance, above which a fit covers no mode well
NEGLIGIBLE = 7.0  # nats below the best bound: a share of a thousandth


class Place(NamedTuple):
    """Where a fit has put its draws."""

    mean: Tensor  # of unconstrained vectors, (d,)
    spread: Tensor  # their standard deviation, (d,)
    half_variance: Tensor  # half the variance of their log-weights, in nats, ()


def modes_apart(places: list[Place], bounds: list[float]) -> tuple[float, str | None]:
    """Return the largest distance of two fits' means, in standard deviations, and what it says in words.

    Fits whose bound is far below the best are left out: what they found has next to no probability. So are
    fits that are far from covering any mode.

    Args:
        places: one of each fit.
        bounds: evidence lower bound of each fit, in nats.

    Returns:
        The distance, and None if all fits found the same.
    """
    near = [float(place.half_variance) < FAR for place in places]
    fits = [i for i, bound in enumerate(bounds) if near[i] and bound > max(bounds) - NEGLIGIBLE]
    largest, pair = 0.0, (0, 0)
    for i, j in combinations(fits, 2):
        spread = (places[i].spread.square() + places[j].spread.square()).div(2).sqrt()
        distance = float(((places[i].mean - places[j].mean).abs() / spread).max())
        if distance > largest:
            largest, pair = distance, (i, j)
    if not largest > APART:
        return largest, None
    told = ", ".join(f"restart {i + 1}: {bounds[i]:.2f}" for i in fits)
    i, j = pair
    return largest, (
        f"the restarts have found different modes: means of restarts {i + 1} and {j + 1} are {largest:.1f} "
        f"standard deviations apart, at similar bounds ({told}). The guide keeps the best of them, and its "
        "draws miss the rest of the posterior"
    )
