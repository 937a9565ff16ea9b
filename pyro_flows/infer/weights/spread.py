"""Looking beyond a guide's draws: importance sampling from draws that are spread out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..model.density import LogDensity, trace_at
from ..model.latents import Latents
from .importance import Importance
from .psis import Smoothed, psis

__all__ = ["SpreadOut", "spread_out"]


class SpreadOut(NamedTuple):
    """What `spread_out` returns for each factor."""

    factor: float
    """How many times as far from their median the draws lie."""
    smoothed: Smoothed
    """The smoothed weights of the draws that are spread out."""
    ratio: Tensor
    """Standard deviation by these weights over that of the draws, of each unconstrained coordinate: (d,)."""
    ratio_error: Tensor
    """Its standard error, of shape (d,)."""


@torch.no_grad()
def spread_out(result: Importance, factors: Sequence[float]) -> list[SpreadOut]:
    """Weigh a guide's draws after moving them away from their median, each factor s in turn.

    The moved draws are an importance sample too, u′ = m + s (u − m) with log q′(u′) = log q(u) − d log s in
    unconstrained space, and their mean weight estimates the evidence as well. If it is larger than that of
    the draws themselves, or the posterior that it shows is broader, the guide misses a part that it could not
    see. In many dimensions these weights are too uneven to say anything; their k̂ tells.

    Args:
        result: from `importance`, with its model.
        factors: each s > 0.

    Returns:
        What each factor shows; nothing if the result has no model, or a latent site is discrete.
    """
    if result.model is None:
        return []
    draws = result.evaluation.values
    first = {name: value[0] for name, value in draws.items()}
    try:
        latents = Latents(trace_at(result.model, first, result.args, result.kwargs))
    except ValueError:
        return []
    u, log_det = latents.unconstrain({site.name: draws[site.name] for site in latents.sites})
    usable = u.isfinite().all(-1)
    u, log_q = u[usable], (result.evaluation.log_q + log_det)[usable]
    if len(u) == 0:
        return []
    middle = u.median(0).values
    density = LogDensity(result.model, latents, result.args, result.kwargs, runs=result.evaluation.runs)
    found = []
    for factor in factors:
        moved = middle + factor * (u - middle)
        smoothed = psis(density(moved) - log_q + latents.dim * math.log(factor))
        found.append(SpreadOut(factor, smoothed, *_ratio(moved, smoothed, u)))
    return found


def _ratio(moved: Tensor, smoothed: Smoothed, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted standard deviation over that of `u`, and its standard error by the delta method."""
    weights = smoothed.log_weights.exp()[:, None].to(u.device)
    x = moved.double()
    squares = (x - (weights * x).sum(0)).square()
    variance = (weights * squares).sum(0)
    error = (weights.square() * (squares - variance).square()).sum(0).sqrt()
    ratio = variance.sqrt() / u.double().std(0)
    return ratio, ratio * error / (2 * variance)
