"""Fitting a mixture: a start of its own for each member, fits of those that differ, and their weights."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...flow_distribution import FlowDistribution
from ...loop.checkpoint import Checkpoint, identity_of, resumed_seed
from ...loop.clipped_step import NonFiniteLoss
from ...loop.generators import seed_generators
from ...loop.warning import warn_caller
from ..guides.auto_flow import AutoFlow
from ..guides.auto_mixture import AutoMixture
from ..guides.mixture_weights import apart, check_whole, connected
from ..model.density import SEEN_A_PART, LogDensity
from ..weights.psis import psis
from .convergence import FINAL_DRAWS, MOST_KHAT, tolerance_of
from .model_identity import ModelIdentity
from .model_parameters import model_parameters
from .modes import Place, modes_apart
from .vi_run import VIRun
from .vi_settings import MAY_CHANGE, VIHistory, VISettings

__all__ = ["MixtureFit"]

VERSION = 2  # of the format of the file of the starts


class MixtureFit:
    """Starts of all members, fits of those whose starts differ, their weights, and fits of what overlaps.

    Args:
        model: the model.
        guide: the mixture, set up.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        settings: how to train each fit.
        seed: of everything random.
        path: what the names of the checkpoints begin with, if there are to be any: one of the starts, and one
            of each fit.

    Raises:
        ValueError: if a plate is subsampled, or the model has parameters of its own, which fits would train
            one after the other.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: AutoMixture,
        args: Any,
        kwargs: Any,
        settings: VISettings,
        seed: int,
        path: str | os.PathLike[str] | None,
    ) -> None:
        self.model, self.guide, self.args, self.kwargs = model, guide, args, kwargs
        self.settings, self.seed, self.path = settings, seed, path
        self.density = LogDensity(model, guide.latents, args, kwargs)
        loc = guide.guides[0].whitening.loc
        check_whole(self.density, loc[None])
        values = guide.latents.constrain(loc)[0]
        if learned := model_parameters(model, values, args, kwargs, without=guide.parameters()):
            raise ValueError(
                "expected a model without parameters of its own, since each member of a mixture would train "
                f"them anew; got {', '.join(learned)}"
            )
        self.identity = ModelIdentity(model, guide.latents, args, kwargs)
        self.checkpoint = Checkpoint(
            None if path is None else f"{path}.starts", kind="mixture's starts", version=VERSION, every=0.0
        )
        self.history = VIHistory()
        self.places: list[Place] = []
        self.together: list[set[int]] = []  # members that have been trained together

    def __call__(self) -> VIHistory:
        """Train, leave the guide with its weights, and return the bounds of the fits and the mixture's."""
        history = self.history
        starts, parts = self._resumed() or self._starts()
        self._fit(parts)
        found = self._weigh(list(starts))
        parts = connected(self._posteriors(sorted(found)))
        if apart_so_far := [part for part in parts if not any(set(part) <= done for done in self.together)]:
            self._fit(apart_so_far)
            found = self._weigh(list(starts))
            parts = connected(self._posteriors(sorted(found)))
        fitted = [bound for bound in history.bounds if bound > -math.inf]
        history.separation = modes_apart(self.places, fitted)[0] if fitted else 0.0
        # A member whose start was like that of another has found the same.
        counts = {k: sum(len(starts[j]) for j in group) for k, group in found.items()}
        self._tell_alone([sum(counts[k] for k in part) for part in parts])
        posterior = self.guide.get_posterior(*self.args, **self.kwargs)
        with torch.no_grad():
            u = posterior.sample((FINAL_DRAWS,))
            weights = (self.density.in_parts(u) - posterior.log_prob(u)).double()
        history.elbo, history.half_variance = [float(weights.mean())], [float(weights.var() / 2)]
        near = history.half_variance[0] <= tolerance_of(self.settings, u.shape[-1])
        history.converged = near and psis(weights).khat < MOST_KHAT
        history.seconds = self.checkpoint.seconds
        return history

    def _starts(self) -> tuple[dict[int, list[int]], list[list[int]]]:
        """Start all members; return those that differ, with those that are like each, and which touch."""
        members = range(len(self.guide.guides))
        for k in members:
            self._start(k)
        self._seed(0)
        starts = apart(self._posteriors(members), self.density) or {k: [k] for k in members}
        parts = connected(self._posteriors(sorted(starts)), touching=True)
        found = {"seed": self.seed, "starts": starts, "parts": parts, "guide": self.guide.state_dict()}
        self.checkpoint.save(lambda: found | {"log_joints": self.identity.log_joints()}, self._identity)
        return starts, parts

    def _resumed(self) -> tuple[dict[int, list[int]], list[list[int]]] | None:
        """Put members where the file's run started them, if there is one, and return what `_starts` did."""
        state = self.checkpoint.load()
        if state is None:
            return None
        self.checkpoint.resume(state, self._identity())
        self.identity.check(state["log_joints"], self.checkpoint.path)
        self.seed = resumed_seed(self.settings.seed, state["seed"], self.checkpoint.path)
        self.guide.load_state_dict(state["guide"])
        return state["starts"], state["parts"]

    def _identity(self) -> dict[str, Any]:
        return self.identity.told | identity_of(self.settings, self.guide.state_dict(), without=MAY_CHANGE)

    def _seed(self, *key: int) -> None:
        seed_generators(self.seed, len(self.guide.guides), *key, device=self.guide.latents.device)

    def _start(self, k: int) -> None:
        """Place a member near the mode that its start leads to; the first member starts as it is."""
        member = self.guide.guides[k]
        if member.initialised:
            return
        seed_generators(self.seed, k, device=self.guide.latents.device)
        if k > 0:
            member.renew(local=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", SEEN_A_PART)  # told when the runs are made
            member.initialise(*self.args, **self.kwargs)

    def _posteriors(self, members: Iterable[int]) -> dict[int, FlowDistribution]:
        return {k: self.guide.guides[k].get_posterior(*self.args, **self.kwargs) for k in members}

    def _weigh(self, members: list[int]) -> dict[int, list[int]]:
        """Weigh members; return those with a weight, with those that have found the same."""
        self._seed(1)
        found = self.guide.weigh(self.model, *self.args, only=members, **self.kwargs)
        return {group[0]: group for group in found}

    def _fit(self, parts: list[list[int]]) -> None:
        """Train the members of each part together."""
        for part in parts:
            own = int(np.random.SeedSequence((self.seed, *part)).generate_state(1)[0])
            settings = replace(self.settings, seed=own)
            guide: AutoFlow | AutoMixture = self.guide.guides[part[0]]
            if len(part) > 1:
                guide = AutoMixture([self.guide.guides[k] for k in part])
                guide.setup(*self.args, **self.kwargs)
                settings = replace(settings, restarts=1)
            path = None if self.path is None else f"{self.path}.{'+'.join(map(str, part))}"
            run = VIRun(self.model, guide, self.args, self.kwargs, settings, own, path)
            self.together.append(set(part))
            self._take(part, run)

    def _take(self, part: list[int], run: VIRun) -> None:
        """Run a fit, and add what it saw to the history."""
        try:
            seen = run()
        except NonFiniteLoss as error:  # a start from which no step leads anywhere; the member gets no weight
            members = ", ".join(map(str, part))
            warn_caller(f"member{'s' * (len(part) > 1)} {members} could not be fitted: {error}")
            self.history.bounds.append(-math.inf)
            return
        if seen.best_bound > -math.inf:
            self.places.append(run.places[seen.bounds.index(seen.best_bound)])
        self.history.bounds.append(seen.best_bound)
        self.history.steps += seen.steps
        self.history.skipped += seen.skipped
        self.history.compile_seconds += seen.compile_seconds

    def _tell_alone(self, counts: list[int]) -> None:
        """Warn if members have found parts of the posterior that no other did."""
        alone, members = counts.count(1), sum(counts)
        if alone:
            # Good, "The population frequencies of species", 1953: the chance that the next start leads
            # elsewhere.
            warn_caller(
                f"{alone} of {members} members found a part of the posterior that no other did, so that one "
                f"more would find another part with a probability of about {alone / members:.2f}, and the "
                "evidence may be too low: fit a mixture of more members"
            )
