"""Looking beyond a guide's draws: importance sampling from the guide made wider."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from ..model.density import LogDensity
from ..model.latents import Latents
from .importance import Importance
from .psis import Smoothed, psis

__all__ = ["Widened", "widen"]


class Widened(NamedTuple):
    """What `widen` returns."""

    smoothed: Smoothed
    """The widened draws' smoothed weights."""
    spread: Tensor
    """Their standard deviation over that of the draws, of each unconstrained coordinate, of shape (d,)."""
    spread_error: Tensor
    """Its standard error, of shape (d,)."""


@torch.no_grad()
def widen(
    result: Importance,
    model: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    factor: float,
) -> Widened | None:
    """Weigh a guide's draws after moving them away from their mean, ``factor`` times as far.

    The widened draws are an importance sample too, u′ = m + s (u − m) with log q′(u′) = log q(u) − d log s in
    unconstrained space, and its mean weight is the evidence as well. Where it is larger than that of the
    draws themselves, or the posterior it shows is broader, the guide misses a part that it could not see.
    In many dimensions the widened weights are too uneven to say anything; their k̂ tells.

    Args:
        result: from `importance`.
        model: the model.
        args: its positional arguments.
        kwargs: its keyword arguments.
        factor: s > 0.

    Returns:
        The smoothed weights and what they say of scales; None where latent sites are not continuous.
    """
    with poutine.block():
        trace = poutine.trace(model).get_trace(*args, **(kwargs or {}))
    try:
        latents = Latents(trace)
    except ValueError:
        return None
    values = {site.name: result.evaluation.values[site.name] for site in latents.sites}
    u, log_det = latents.unconstrain(values)
    usable = u.isfinite().all(-1)
    u, log_q = u[usable], (result.evaluation.log_q + log_det)[usable]
    if len(u) == 0:
        return None
    middle = u.median(0).values
    density = LogDensity(model, latents, args, kwargs or {})
    wide = middle + factor * (u - middle)
    smoothed = psis(density(wide) - log_q + latents.dim * math.log(factor))
    weights = smoothed.log_weights.exp()[:, None].to(u.device)
    x = wide.double()
    squares = (x - (weights * x).sum(0)).square()
    variance = (weights * squares).sum(0)
    error = (weights.square() * (squares - variance).square()).sum(0).sqrt()
    spread = variance.sqrt() / u.double().std(0)
    return Widened(smoothed, spread, spread * error / (2 * variance))
