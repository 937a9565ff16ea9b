"""Running a model at many draws: under one plate, else by `torch.func.vmap`, else one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...loop.warning import warn_caller
from .batches import Values, close, count_of, in_parts, one_of, stacked
from .choice import COMPARED, Choice
from .given import ModelFailure, trace_at
from .guarded import Guarded
from .how import LOOP, PLATE, How
from .joint import DETERMINISTIC, Joint, Scores
from .layout import Layout
from .observations import check_observations
from .seeds import fixed_seed, generator_states, unvalidated
from .ways import Body, run

__all__ = ["How", "ModelRuns"]

_LOOKS = 30  # draws, among which some at which the model has a density are looked for
_SEEDS = 5
_MOST_ELEMENTS = 2**22  # log-densities of single sites' elements that are held in memory at once


class ModelRuns:
    """A model's log-joint at many values of its latent sites, of shape (draws, *site) each.

    `prepare` chooses the way, by comparing two batches with single runs; after it `how` says which and why,
    `random` whether the log-joint varies from run to run, `redrawn` whether it does so without a subsample.
    `failed` counts the draws at which the model raised so far, and `failure` is the first of them.

    Args:
        model: a Pyro model.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """

    def __init__(self, model: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        self.how: How | None = None
        self.random = self.redrawn = self._draws_numbers = False
        self.sure = False  # whether a finite density was seen when the way was chosen
        self._guard = Guarded(self._chosen)
        self._detach = False  # whether vmap needs it in place of `data`
        self._joint: Joint | None = None

    @property
    def joint(self) -> Joint:
        """The log-joint, with the layout of a single run."""
        if self._joint is None:
            raise ValueError("expected model runs that are prepared; got none yet")
        return self._joint

    @property
    def failed(self) -> int:
        """The number of draws so far at which the model raised."""
        return self._guard.failed

    @property
    def failure(self) -> ModelFailure | None:
        """The first failure of the model so far."""
        return self._guard.failure

    @torch.no_grad()
    def prepare(
        self, values: Values, *, sites: bool = False, check: Callable[[Layout], None] | None = None
    ) -> None:
        """Look at single runs of the model, and choose how draws run together.

        Args:
            values: some draws, different from each other.
            sites: whether site-by-site scores and deterministic sites are to agree too, not only each site's
                sum.
            check: raises an error if a single run's layout will not do.

        Raises:
            ValueError: if the model raises at all draws, `values` do not fit its latent sites, or an
                observation has no density at any draw.
        """
        with unvalidated():
            rows, alone, finite = self._rows(values, sites=sites)
            if check is not None:
                check(self.joint.layout)
            if self._draws_numbers or not sites:
                self._look_for_randomness(one_of(rows, 0))
            if sites:
                self._joint = self.joint.observing_the_same(one_of(rows, -1))
            body: Body = self.joint.sites if sites else self.joint.terms
            choice = Choice(self.joint, body, rows, alone, random=self.random)
        if choice.how.way == LOOP:
            warn_caller(
                f"the model does not run at many draws at once: {choice.how}. Let it take batch dimensions "
                "on the left of every latent's shape, or do without .item() and `if` on tensors"
            )
        self.how, self._detach = choice.how, choice.detach
        self.sure = finite

    @property
    def nesting(self) -> int:
        """How many dimensions a plate of draws wants between the draws and a value's event; 0 without one."""
        return self.joint.layout.nesting if self.how is not None and self.how.way == PLATE else 0

    @property
    def together(self) -> int:
        """How many draws take a bounded part of the memory together."""
        layout = self.joint.layout
        elements = sum(math.prod(layout.whole(name)) for name in layout.batches)
        return max(1, _MOST_ELEMENTS // max(elements, 1))

    def total(self, values: Values) -> Tensor:
        """Return log p(values, data) of shape (draws,); −∞ at draws at which the model raises."""
        found: Tensor = self._guarded(self.joint.total, values)
        return found

    def sites(self, values: Values) -> Scores:
        """Return log-densities and deterministic values by site; −∞ and NaN if the model raises at a draw."""
        found: Scores = self._guarded(self.joint.sites, self._known(values))
        return found

    def predictions(self, values: Values) -> dict[str, Tensor]:
        """Return draws of the observed sites, (draws, …); none if the model cannot draw them."""
        try:
            return self._drawn(self.joint.predictions, values)
        except ModelFailure as failure:
            if isinstance(failure.error, NotImplementedError):
                return {}
            raise failure.error from failure

    def discrete(self, values: Values) -> dict[str, Tensor]:
        """Return draws of the discrete sites that are summed out, given the others, (draws, …)."""
        return self._drawn(self.joint.discrete, values)

    def _drawn(self, body: Body, values: Values) -> dict[str, Tensor]:
        with torch.no_grad(), unvalidated():
            values = self._known(values)
            if self.how is not None and self.how.way != LOOP:
                try:
                    drawn = [
                        self._apply(self.how.way, body, part, "different")
                        for part in in_parts(values, self.together)
                    ]
                    return {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}
                except Exception as error:
                    if isinstance(error, ModelFailure) and isinstance(error.error, NotImplementedError):
                        raise
            # Each draw alone, since not everything that can be scored by vmap can be drawn so.
            parts: list[dict[str, Tensor] | None] = []
            failure = None
            for i in range(count_of(values)):
                try:
                    parts.append(body(one_of(values, i)))
                except ModelFailure as error:
                    failure = error
                    parts.append(None)
            good = next((part for part in parts if part is not None), None)
            if good is None:
                raise failure or ValueError("expected at least one draw; got none")
            blank = {name: torch.zeros_like(value) for name, value in good.items()}
            return stacked([blank if part is None else part for part in parts])

    def _rows(self, values: Values, *, sites: bool) -> tuple[dict[str, Tensor], Any, bool]:
        """Return a few draws at which the model runs, their scores, and whether these are finite."""
        good: list[tuple[int, Any]] = []
        spare: list[tuple[int, Any]] = []
        raised = 0
        if not values:
            _missing(Joint.at(self.model, self.args, self.kwargs, {}), {})
            raise ValueError("expected a model with latent sites; got none")
        device = next(iter(values.values())).device
        for i in range(min(count_of(values), _LOOKS)):
            row = one_of(values, i)
            try:
                if self._joint is None:
                    joint = Joint.at(self.model, self.args, self.kwargs, row)
                    _missing(joint, row)
                    self._joint = joint
                with fixed_seed(device):
                    before = generator_states(device)
                    score = self._joint.sites(row) if sites else self._joint.terms(row)
                    drew = any(not a.equal(b) for a, b in zip(before, generator_states(device), strict=True))
                    self._draws_numbers |= drew
            except ModelFailure as failure:
                self._guard.failure, raised = self.failure or failure, raised + 1
                continue
            (good if _is_finite(score) else spare).append((i, score))
            if len(good) == COMPARED:
                break
        if not good and not spare:
            cause = None if self.failure is None else self.failure.error
            raise ValueError(f"the model raised at all of {raised} draws, first {self.failure}") from cause
        if not good:
            self._check_observations(one_of(values, spare[0][0]), one_of(values, spare[-1][0]))
        places, scores = zip(*(good or spare[:COMPARED]), strict=True)
        known = self._known(values)
        rows = {name: value[torch.tensor(places, device=value.device)] for name, value in known.items()}
        return rows, stacked(list(scores)), bool(good)

    def _check_observations(self, one: Values, other: Values) -> None:
        """Raise a ValueError if an observation has no density, be the latent variables what they may."""
        if all(value.equal(other[name]) for name, value in one.items()):
            return
        traces = []
        for row in (one, other):
            with fixed_seed(next(iter(row.values())).device):
                traces.append(trace_at(self.model, row, self.args, self.kwargs))
        check_observations(*traces, summed_out=bool(self.joint.layout.enumerated))

    def _known(self, values: Values) -> dict[str, Tensor]:
        return {name: value for name, value in values.items() if name in self.joint.layout.values}

    def _look_for_randomness(self, row: Values) -> None:
        device = next(iter(row.values())).device
        scores = [self.joint.total(row)]  # by numbers that may not be torch's
        for seed in range(_SEEDS if self._draws_numbers else 1):
            with fixed_seed(device, seed):
                scores.append(self.joint.total(row))
        self.random = any(not close(other, scores[0]) for other in scores)
        self.redrawn = self.random and self.joint.layout.part is None

    def _apply(self, way: str, body: Body, values: Values, randomness: str = "same") -> Any:
        return run(way, self.joint, body, values, randomness=randomness, detach=self._detach)

    def _guarded(self, body: Body, values: Values) -> Any:
        if self.how is None:
            raise ValueError("expected model runs that are prepared; got none yet")
        nesting, by_matrix = self.joint.layout.nesting, self.how.way != LOOP
        return self._guard(body, values, nesting=nesting, by_matrix=by_matrix)

    def _chosen(self, body: Body, values: Values) -> Any:
        return self._apply(LOOP if self.how is None else self.how.way, body, values)


def _is_finite(score: Scores) -> bool:
    """Whether a draw has a finite density."""
    return all(bool(part.isfinite().all()) for (group, _), part in score.items() if group != DETERMINISTIC)


def _missing(joint: Joint, row: Values) -> None:
    """Raise a ValueError if a latent site has no value."""
    missing = [name for name in joint.layout.latent if name not in row]
    if missing:
        hint = joint.layout.discrete.get(missing[0], "")
        raise ValueError(
            f"expected a guide of every latent variable; got none for {', '.join(missing)}{hint}"
        )
