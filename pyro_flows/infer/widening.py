"""Looking beyond a guide's draws: importance sampling from the guide made wider."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine

from .density import LogDensity
from .importance import Importance
from .latents import Latents
from .psis import Smoothed, psis

__all__ = ["widen"]


@torch.no_grad()
def widen(
    result: Importance,
    model: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    factor: float,
) -> Smoothed | None:
    """Weigh a guide's draws after moving them away from their mean, ``factor`` times as far.

    The widened draws are an importance sample too, u′ = m + s (u − m) with log q′(u′) = log q(u) − d log s in
    unconstrained space, and its mean weight is the evidence as well. Where it is larger than that of the
    draws themselves, the guide misses a part of the posterior that it could not see. In many dimensions the
    widened weights are too uneven to say anything; their k̂ tells.

    Args:
        result: from `importance`.
        model: the model.
        args: its positional arguments.
        kwargs: its keyword arguments.
        factor: s > 0.

    Returns:
        The smoothed weights; None where latent sites are not continuous.
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
    log_p = density(middle + factor * (u - middle))
    return psis(log_p - log_q + latents.dim * math.log(factor))
