"""Fitting a mixture: each member from a start of its own, then their weights."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...loop.clipped_step import NonFiniteLoss
from ...loop.generators import seed_generators
from ...loop.warning import warn_caller
from ..guides.auto_mixture import AutoMixture
from ..model.density import LogDensity
from ..weights.psis import psis
from .convergence import FINAL_DRAWS, MOST_KHAT
from .modes import modes_apart
from .vi_run import VIRun
from .vi_settings import VIHistory, VISettings

__all__ = ["fit_mixture"]


def fit_mixture(
    model: Callable[..., Any],
    guide: AutoMixture,
    args: Any,
    kwargs: Any,
    settings: VISettings,
    seed: int,
    path: str | os.PathLike[str] | None,
) -> VIHistory:
    """Fit and weigh the members of a mixture; return the members' bounds, and the mixture's.

    Raises:
        ValueError: if the model has parameters of its own, which members would train one after the other.
    """
    start = time.perf_counter()
    device = guide.latents.device
    history = VIHistory()
    places = []
    for k, member in enumerate(guide.guides):
        own = int(np.random.SeedSequence((seed, k)).generate_state(1)[0])
        seed_generators(own, device=device)
        if k > 0 and not member.initialised:
            member.renew()
        file = None if path is None else f"{path}.{k}"
        run = VIRun(model, member, args, kwargs, replace(settings, seed=own), own, file)
        if run.learned:
            raise ValueError(
                "expected a model without parameters of its own, since each member of a mixture would train "
                f"them anew; got {', '.join(run.learned)}"
            )
        try:
            found = run()
        except NonFiniteLoss as error:  # a start from which no step leads anywhere; the member gets no weight
            warn_caller(f"member {k} was not fitted: {error}")
            history.bounds.append(-math.inf)
            continue
        places.append(run.places[found.bounds.index(found.best_bound)])
        history.bounds.append(found.best_bound)
        history.steps += found.steps
        history.skipped += found.skipped
        history.compile_seconds += found.compile_seconds
    fitted = [bound for bound in history.bounds if bound > -math.inf]
    history.separation = modes_apart(places, fitted)[0] if fitted else 0.0
    seed_generators(seed, len(guide.guides), device=device)
    alone = guide.weigh(model, *args, **kwargs).count(1)
    if alone:
        # Good, "The population frequencies of species", 1953: the chance that the next start leads elsewhere.
        warn_caller(
            f"{alone} of {len(fitted)} members found a part of the posterior that no other did, so that one "
            f"more would find another part with a probability of about {alone / len(fitted):.2f}, and the "
            "evidence may be too low: fit a mixture of more members"
        )
    posterior = guide.get_posterior(*args, **kwargs)
    with torch.no_grad():
        u = posterior.sample((FINAL_DRAWS,))
        density = LogDensity(model, guide.latents, args, kwargs)
        weights = (density.in_parts(u) - posterior.log_prob(u)).double()
    history.elbo, history.half_variance = [float(weights.mean())], [float(weights.var() / 2)]
    history.converged = history.half_variance[0] <= settings.tolerance and psis(weights).khat < MOST_KHAT
    history.seconds = time.perf_counter() - start
    return history
