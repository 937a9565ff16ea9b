"""One run of `fit_vi`: its loop, its checks and its checkpoints."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...loop.checkpoint import Checkpoint, identity_of, resumed_seed
from ...loop.clipped_step import ClippedStep, NonFiniteLoss, adam
from ...loop.generators import seed_generators
from ...loop.progress import progress_bar
from ...loop.warning import warn_caller
from ..guides.auto_flow import AutoFlow
from ..guides.auto_mixture import AutoMixture
from ..model.density import SEEN_A_PART, LogDensity
from ..weights.psis import psis
from .convergence import Convergence
from .model_identity import ModelIdentity
from .model_parameters import model_parameters
from .modes import Place, modes_apart
from .objective import objective_of
from .vi_settings import MAY_CHANGE, VIHistory, VISettings

__all__ = ["VIRun"]

FINAL_DRAWS = 10_000
PLACE_DRAWS = 2000
PATIENCE = 50  # steps in a row without a finite gradient, before the last good weights are taken up again
LOOK_EVERY = 50  # steps; in between nothing is read back from the device
PROGRESS = ("seed", "fit", "step", "rate", "running", "done")
VERSION = 4  # of the checkpoint's format

State = dict[str, Tensor]


class VIRun:
    """One run; what must survive a kill is what `_save` writes."""

    def __init__(
        self,
        model: Callable[..., Any],
        guide: AutoFlow | AutoMixture,
        args: Any,
        kwargs: Any,
        settings: VISettings,
        seed: int,
        path: str | os.PathLike[str] | None,
    ) -> None:
        self.guide, self.settings = guide, settings
        self.args, self.kwargs = args, kwargs
        self.device = guide.latents.device
        loc = (guide.guides[0] if isinstance(guide, AutoMixture) else guide).whitening.loc
        self.density = LogDensity(model, guide.latents, args, kwargs)
        self.density.prepare(loc[None])
        self.objective = objective_of(guide, self.density, settings)
        values = guide.latents.constrain(loc)[0]
        self.learned = model_parameters(model, values, args, kwargs, without=guide.parameters())
        self.identity = ModelIdentity(model, guide.latents, args, kwargs)
        self.seed = seed
        self.checkpoint = Checkpoint(
            path, kind="variational run", version=VERSION, every=settings.checkpoint_every
        )
        self.history = VIHistory()
        self.fit = self.step = 0  # the restart, and the step in it
        self.first = self.good = self._state()
        self.best: State = {}
        self.ends: list[State] = []  # of each fit, if there are several
        self.places: list[Place] = []  # of each fit that has ended
        self.convergence = self._unchecked()
        self.rate = settings.learning_rate
        self.running = self.done = False

    def __call__(self) -> VIHistory:
        """Resume, train, leave the guide with its best weights and return the history."""
        self._load()
        s = self.settings
        bar = progress_bar(
            s.steps * s.restarts, self.fit * s.steps + self.step, shown=s.progress, unit="step"
        )
        try:
            while not self.done:
                if not self.running:
                    self._start()
                self._train(bar)
                self._finish()
        finally:
            bar.close()
        self.history.separation, warning = modes_apart(self.places, self.history.bounds)
        if warning is not None:
            whole = self.density.runs.joint.layout.part is None and len(self.ends) == s.restarts
            if whole and not self.learned:
                warning += ": `mixture`, in what fit_vi returns, is a guide of all of them"
                self.history.mixture = self._mixture()
            warn_caller(warning)
        if self.history.outside > 0:
            percent = float(f"{100 * self.history.outside:.2g}")
            warn_caller(
                f"the model has density zero at {percent:g} % of the guide's draws, NaN counted as zero, so "
                "the ELBO is −∞: if the posterior ends at a boundary, give the latent sites a support that "
                "ends there, or correct the draws by their weights (pyro_flows.infer.importance)"
            )
        return self.history

    def _seed(self, use: int) -> None:
        seed_generators(self.seed, self.fit, self.step, use, device=self.device)

    def _unchecked(self) -> Convergence:
        return Convergence(self.settings, learns=bool(self.learned), dim=self.guide.latents.dim)

    def _start(self) -> None:
        """Put the guide where this fit starts: the first as it is, if it is initialised, the others anew."""
        self.step, self.rate, self.running = 0, self.settings.learning_rate, True
        self.convergence = self._unchecked()
        self._set(self.first)
        self._seed(0)
        if isinstance(self.guide, AutoFlow):  # a mixture has been started
            if self.fit > 0:
                self.guide.renew()
            if not self.guide.initialised:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", SEEN_A_PART)  # told when the run was made
                    self.guide.initialise(*self.args, **self.kwargs)
        self.good = self._state()
        self._optimizer()
        self._check()

    def _optimizer(self) -> None:
        parameters = [p for p in self.guide.parameters() if p.requires_grad] + list(self.learned.values())
        self.clipped_step = ClippedStep(adam(parameters, rate=self.rate), clip=self.settings.clip)

    def _train(self, bar: Any) -> None:
        while not self.convergence.ends(self.step):
            self.history.compile_seconds += self.objective.prepare(self.settings.batch_size)
            self._seed(1)
            self._step()
            self.step += 1
            self.history.steps += 1
            bar.update(1)
            if self.step % LOOK_EVERY == 0:
                self._look()
            if self.convergence.is_due(self.step):
                self._seed(2)
                self._check()
                bar.set_postfix_str(str(self.convergence))
                if self.checkpoint.is_due:
                    self._save()

    def _step(self) -> None:
        self.clipped_step.optimizer.zero_grad()
        self.objective.backward(self.settings.batch_size)
        self.clipped_step(self.convergence.rate(self.step))

    def _look(self) -> None:
        """Read from the device whether steps can still be taken; go back and slow down if not."""
        if int(self.clipped_step.in_a_row) < PATIENCE:
            return
        self._set(self.good)
        if self.rate < 1e-3 * self.settings.learning_rate:
            raise NonFiniteLoss(
                f"the gradient was NaN or infinite in {PATIENCE} steps in a row at step {self.step}, at ever "
                "smaller learning rates too. The guide keeps its last good weights; look for a density that "
                "is infinite or has no gradient inside its support, for flat priors that the data do not "
                "bound, or for units in which squares leave the dtype's range"
            )
        self.rate = self.rate / 4
        self._count_skipped()
        self._optimizer()

    def _count_skipped(self) -> None:
        self.history.skipped += int(self.clipped_step.skipped)
        self.clipped_step.skipped.zero_()

    def _check(self) -> None:
        self.objective.balance()
        self.convergence.check(self.step, self.objective.weights)
        if math.isfinite(self.convergence.elbo[-1]):
            self.good = self._state()

    def _finish(self) -> None:
        """Compare this fit with the best before, and go on to the next."""
        self._count_skipped()
        if not math.isfinite(self.convergence.elbo[-1]):
            self._set(max((self.good, self._state()), key=self._effective_draws))
        self._seed(3)
        weights = self.objective.weights(FINAL_DRAWS)
        bound = float(weights.mean())
        with torch.no_grad():
            u = self.objective.sample_and_log_prob(PLACE_DRAWS)[0]
        self.places.append(Place(u.mean(0), u.std(0), weights.var() / 2))
        if not self.best or bound > self.history.best_bound:
            self.best = self._state()
            self.history.outside = float((weights == -math.inf).double().mean())
            for name in ("elbo", "half_variance", "converged"):
                setattr(self.history, name, getattr(self.convergence, name))
        self.history.bounds.append(bound)
        if self.settings.restarts > 1:
            self.ends.append(self._state())
        self.fit += 1
        self.running, self.done = False, self.fit == self.settings.restarts
        if self.done:
            self._set(self.best)
        self._save()

    def _mixture(self) -> AutoMixture:
        """Return a mixture of all fits, weighed by their shares of the evidence."""
        members = []
        for end in self.ends:
            self._set(end)
            members.append(copy.deepcopy(self.guide))
        self._set(self.best)
        mixture = AutoMixture(members)
        self._seed(5)
        mixture.weigh(self.density.runs.model, *self.args, **self.kwargs)
        return mixture

    def _effective_draws(self, state: State) -> float:
        """Return the effective sample size of a state's draws, 0 if its weights are not usable."""
        self._set(state)
        self._seed(4)
        ess = psis(self.objective.weights(FINAL_DRAWS)).ess
        return ess if math.isfinite(ess) else 0.0

    def _state(self) -> State:
        state = {f"guide.{name}": value for name, value in self.guide.state_dict().items()}
        state |= {f"model.{name}": value for name, value in self.learned.items()}
        return {name: value.detach().clone() for name, value in state.items()}

    @torch.no_grad()
    def _set(self, state: State) -> None:
        self.guide.load_state_dict({n[6:]: v for n, v in state.items() if n.startswith("guide.")})
        for name, value in self.learned.items():
            value.copy_(state[f"model.{name}"])

    def _identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one before; its seed may have been drawn."""
        return self.identity.told | identity_of(self.settings, self._state(), without=MAY_CHANGE)

    def _save(self) -> None:
        self.history.seconds = self.checkpoint.seconds
        self.checkpoint.save(self._run, self._identity)

    def _run(self) -> dict[str, Any]:
        return {
            "state": self._state(),
            "log_joints": self.identity.log_joints(),
            "step": self.clipped_step.state(),
            "history": {name: value for name, value in vars(self.history).items() if name != "mixture"},
            "checks": self.convergence.state(),
            "weights": (self.first, self.best, self.good, *self.ends),
            "places": [tuple(place) for place in self.places],
            "progress": tuple(getattr(self, name) for name in PROGRESS),
        }

    def _load(self) -> None:
        """Take up the file's run, if there is one."""
        state = self.checkpoint.load()
        if state is None:
            return
        self.checkpoint.resume(state, self._identity())
        resumed_seed(self.settings.seed, state["progress"][0], self.checkpoint.path)
        before = self._state()
        self._set(state["state"])
        try:
            self.identity.check(state["log_joints"], self.checkpoint.path)
        except ValueError:
            self._set(before)
            raise
        for name, value in zip(PROGRESS, state["progress"], strict=True):
            setattr(self, name, value)
        self.history = VIHistory(**state["history"])
        self.convergence.load(state["checks"])
        self.places = [Place(*(part.to(self.device) for part in place)) for place in state["places"]]
        self.first, self.best, self.good, *self.ends = (
            {name: value.to(self.device) for name, value in weights.items()} for weights in state["weights"]
        )
        self._optimizer()
        self.clipped_step.load(state["step"])
