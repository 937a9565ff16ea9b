"""Looking beyond a guide's draws: importance sampling from draws that are spread out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..model.density import LogDensity
from ..model.latents import Latents
from .importance import Importance
from .psis import Smoothed, psis

__all__ = ["SpreadOut", "spread_out"]

_TRIED = 50  # draws


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
        result: from `importance`.
        factors: each s > 0, increasing.

    Returns:
        What each factor shows; nothing from the first on at which the model raises at more than a tenth of
        the draws, nor if the result holds no model, or a latent site is discrete.
    """
    draws, runs, trace = result.evaluation.values, result.evaluation.runs, result.trace
    if runs is None or trace is None:
        return []
    try:
        latents = Latents(trace)
    except ValueError:
        return []
    u, log_det = latents.unconstrain({site.name: draws[site.name] for site in latents.sites})
    usable = u.isfinite().all(-1)
    u, log_q = u[usable], (result.evaluation.log_q + log_det)[usable]
    if len(u) == 0:
        return []
    middle = u.median(0).values
    density = LogDensity(runs.model, latents, runs.args, runs.kwargs, runs=runs)
    found = []
    for factor in factors:
        moved = middle + factor * (u - middle)
        if (log_p := _scored(density, moved)) is None:
            break
        smoothed = psis(log_p - log_q + latents.dim * math.log(factor))
        found.append(SpreadOut(factor, smoothed, *_ratio(moved, smoothed, u)))
    return found


def _scored(density: LogDensity, moved: Tensor) -> Tensor | None:
    """Return the log-density of draws that may lie far out; None if the model raises at too many of them.

    Draws at which it raises are found one by one, so a few are tried first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the model raises
        try:
            before = density.failed
            tried = density.in_parts(moved[:_TRIED])
            if density.failed - before > _TRIED / 10:
                return None
            return torch.cat([tried, density.in_parts(moved[_TRIED:])])
        except ValueError:  # at most of them
            return None


def _ratio(moved: Tensor, smoothed: Smoothed, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted standard deviation over that of `u`, and its standard error by the delta method."""
    weights = smoothed.log_weights.exp()[:, None].to(u.device)
    x = moved.double()
    squares = (x - (weights * x).sum(0)).square()
    variance = (weights * squares).sum(0)
    error = (weights.square() * (squares - variance).square()).sum(0).sqrt()
    ratio = variance.sqrt() / u.double().std(0)
    return ratio, ratio * error / (2 * variance)
