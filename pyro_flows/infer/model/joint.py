"""A model's log-joint at given values of its latent sites: of one draw, or of many that lie under a plate."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import pyro
from pyro import poutine
from pyro.infer import infer_discrete
from pyro.poutine import Trace
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Tensor

from .enumeration import Enumerate, Term, summed_out
from .given import Given, ValueDoesNotFit, naming_the_place, trace_at
from .layout import Layout
from .observations import same_values
from .program import is_deterministic, predictive, samples
from .scoring import log_density

__all__ = ["DETERMINISTIC", "LIKELIHOOD", "PRIOR", "Joint", "Scores", "total_of"]

PRIOR, LIKELIHOOD, DETERMINISTIC = "log_prior", "log_likelihood", "deterministic"
Scores = dict[tuple[str, str], Tensor]  # by group and site
_PLATE = "_pyro_flows_draws"


class _Terms(Given):
    """Scores each site, summed over all dimensions but the draws'."""

    def __init__(self, values: Mapping[str, Tensor], nesting: int | None) -> None:
        super().__init__(values)
        self.nesting = nesting
        self.terms: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if type(msg["fn"]).__name__ != "_Subsample" and not msg["infer"].get("_deterministic"):
            if not msg["is_observed"] and name not in self.values:
                raise ValueDoesNotFit(f"expected a value of every latent site; got none of {name!r}")
            self.terms[name] = _summed(log_density(msg), self.nesting)
        self.left = self.entered


def _summed(log_prob: Tensor, nesting: int | None) -> Tensor:
    if nesting is None or log_prob.dim() <= nesting:  # of one draw, or the same for all
        return log_prob.sum()
    return log_prob.flatten(1).sum(-1) if log_prob.dim() > 1 else log_prob  # the draws lie first


class Joint(NamedTuple):
    """A model, what it is called with, and what its sites look like in a single run.

    Its methods take the latent sites' values: of shape (draws, 1 …, *plates, *event) for `draws` of them that
    run under one plate, or (*plates, *event) if `draws` is None, for a single one. To be run without Pyro's
    argument checks.
    """

    model: Callable[..., Any]
    args: Any
    kwargs: Mapping[str, Any]
    layout: Layout

    @classmethod
    def at(cls, model: Callable[..., Any], args: Any, kwargs: Any, values: Mapping[str, Tensor]) -> Joint:
        """Look at a single run with the given values.

        Raises:
            ModelFailure: if the model raises.
        """
        joint = cls(model, args, kwargs, Layout.of(trace_at(model, values, args, kwargs)))
        if not joint.layout.enumerated:
            return joint
        with pyro.validation_enabled(False):
            return joint._replace(layout=joint._with_terms(values))

    def _with_terms(self, values: Mapping[str, Tensor]) -> Layout:
        """Return the layout with the shapes and plates of log-densities that several sites share."""
        layout = self.layout
        trace = self._trace(values, None, enumerated=True)
        terms = {label(term.names): term for term in self._split(trace).values()}
        return replace(
            layout,
            batches=layout.batches | {name: term.log_density.shape for name, term in terms.items()},
            plates=layout.plates | {name: term.plates for name, term in terms.items()},
            scales=layout.scales  # which the sites of a term have in common
            | {n: layout.scales[t.names[0]] for n, t in terms.items() if t.names[0] in layout.scales},
            event_dims=layout.event_dims | {name: 0 for name in terms if name not in layout.event_dims},
            dependent=tuple(
                name
                for name in layout.deterministic
                if trace.nodes[name]["value"].shape != layout.values[name]
            ),
        )

    def observing_the_same(self, values: Mapping[str, Tensor]) -> Joint:
        """Leave out of the layout's observations what is another value at these values: it was computed."""
        nodes = trace_at(self.model, values, self.args, self.kwargs).nodes
        kept = {
            name: value
            for name, value in self.layout.observed.items()
            if same_values(nodes[name]["value"].detach().expand(value.shape), value)
        }
        return self._replace(layout=replace(self.layout, observed=kept))

    @contextmanager
    def _running(self, given: Given, draws: int | None) -> Iterator[None]:
        # Plates outside of us, such as an ELBO's own particles, do not reach in here.
        outer, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []
        try:
            with naming_the_place(given), given, self._plate(draws):
                yield
        finally:
            _DIM_ALLOCATOR._stack = outer

    def _plate(self, draws: int | None) -> AbstractContextManager[Any]:
        if draws is None:
            return nullcontext()
        plate: AbstractContextManager[Any] = pyro.plate(_PLATE, draws, dim=-self.layout.nesting - 1)
        return plate

    def total(self, values: Mapping[str, Tensor], draws: int | None = None) -> Tensor:
        """Return log p(values, data), discrete sites summed out, of shape (draws,), or ().

        Raises:
            ValueDoesNotFit: if the model's latent sites are not those of the layout.
        """
        return total_of(self.terms(values, draws))

    def terms(self, values: Mapping[str, Tensor], draws: int | None = None) -> Scores:
        """Return the parts of the total, of shape (draws,), or (): of each site, or of several together."""
        nesting, shape = (None, ()) if draws is None else (self.layout.nesting, (draws,))
        found: Scores = {}
        if self.layout.enumerated:
            trace = self._trace(values, draws, enumerated=True)
            for i, term in enumerate(summed_out(trace)):
                found[str(i), label(term.names)] = _summed(term.log_density, nesting).expand(shape)
            return found
        score = _Terms(values, nesting)
        with poutine.block(), self._running(score, draws):
            self.model(*self.args, **self.kwargs)
        self._check_latent(score.terms)
        if not score.terms:
            raise ValueError("expected a model with at least one sample site; got none")
        return {("", name): term.expand(shape) for name, term in score.terms.items()}

    def _check_latent(self, names: Container[str]) -> None:
        """Raise a ValueDoesNotFit if a latent site of the layout is not among the names of a run's sites."""
        if missing := [name for name in self.layout.latent if name not in names]:
            raise _varying(missing)

    def _check_sites(self, trace: Trace) -> None:
        """Raise a ValueDoesNotFit if the sites of a run are not those of the layout."""
        if self.layout.part is not None:  # which sites there are may follow from the subsample
            return
        found = samples(trace)
        missing = [name for name in self.layout.values if name not in found]
        new = [n for n in found if n not in self.layout.values and not is_deterministic(found[n])]
        if missing or new:
            raise _varying(missing + new)

    def sites(self, values: Mapping[str, Tensor], draws: int | None = None) -> Scores:
        """Return log-densities and deterministic values, site by site, of shape (draws, *single), or single.

        Observed sites that depend on a common discrete site share one log-likelihood, with its sum.
        """
        scores: Scores = {}
        trace = self._trace(values, draws, enumerated=bool(self.layout.enumerated))
        self._check_sites(trace)
        if self.layout.enumerated:
            scores |= {key: term.log_density for key, term in self._split(trace).items()}
        else:
            for name, site in samples(trace).items():
                if (group := self._group(name)) is not None:
                    scores[group, name] = log_density(site)
        for name in self.layout.deterministic:
            if name not in self.layout.dependent:
                scores[DETERMINISTIC, name] = trace.nodes[name]["value"]
        if draws is None:
            return scores
        return {key: self._per_draw(key, score, draws) for key, score in scores.items()}

    def predictions(self, values: Mapping[str, Tensor], draws: int | None = None) -> dict[str, Tensor]:
        """Return draws of the observed sites, discrete sites being among `values`."""
        given, layout = Given(values), self.layout
        with poutine.block(), self._running(given, draws):
            trace = poutine.trace(predictive(self.model)).get_trace(*self.args, **self.kwargs)
        found = {}
        for name in layout.data:
            if name in layout.factors:
                continue
            value, shape = trace.nodes[name]["value"], layout.whole(name)
            if draws is None:
                found[name] = value.expand(shape)
            else:
                found[name] = layout.per_draw(value, shape, layout.event_dims[name], draws)
        return found

    def discrete(self, values: Mapping[str, Tensor], draws: int | None = None) -> dict[str, Tensor]:
        """Return draws of the discrete sites that are summed out, from their posterior given `values`."""
        layout = self.layout

        def under() -> None:
            with self._plate(draws):
                self.model(*self.args, **self.kwargs)

        given = poutine.condition(under, data=dict(values))
        with poutine.block(), self._running(Given({}), None), poutine.trace() as tracer:
            infer_discrete(given, first_available_dim=self._first_free(draws))()
        found = {}
        for name in layout.enumerated:
            value, shape = tracer.trace.nodes[name]["value"], layout.values[name]
            if draws is None:
                found[name] = value.reshape(shape)
            else:
                found[name] = layout.per_draw(value, shape, layout.event_dims[name], draws)
        return found

    def _trace(self, values: Mapping[str, Tensor], draws: int | None, *, enumerated: bool) -> Trace:
        summing = Enumerate(self._first_free(draws)) if enumerated else nullcontext()
        with poutine.block(), summing, poutine.trace() as tracer, self._running(Given(values), draws):
            self.model(*self.args, **self.kwargs)
        trace: Trace = tracer.trace
        return trace

    def _first_free(self, draws: int | None) -> int:
        return -self.layout.nesting - (1 if draws is None else 2)

    def _group(self, name: str) -> str | None:
        if name in self.layout.data:
            return LIKELIHOOD
        return PRIOR if name in self.layout.latent or name in self.layout.weighted else None

    def _split(self, trace: Trace) -> dict[tuple[str, str], Term]:
        """Return log-prior and log-likelihood of a trace with enumerated sites, term by term."""
        found = {}
        priors = [term for term in summed_out(trace, self.layout.data) if term.names]
        for term in summed_out(trace):
            data = tuple(name for name in term.names if name in self.layout.data)
            if not data:
                continue
            likelihood = term.log_density
            for prior in priors:
                if set(prior.names) <= set(term.names):
                    likelihood = likelihood - prior.over(term.plates)
            found[LIKELIHOOD, label(data)] = Term(data, likelihood, term.plates)
        for prior in priors:
            found[PRIOR, label(prior.names)] = prior
        return found

    def _per_draw(self, key: tuple[str, str], score: Tensor, draws: int) -> Tensor:
        group, name = key
        if group == DETERMINISTIC:
            return self.layout.per_draw(score, self.layout.values[name], self.layout.event_dims[name], draws)
        return self.layout.per_draw(score, self.layout.batches[name], 0, draws)


def total_of(terms: Scores) -> Tensor:
    """Return the sum of the parts of a log-joint."""
    first, *others = terms.values()
    return sum(others, start=first)


def _varying(names: list[str]) -> ValueDoesNotFit:
    return ValueDoesNotFit(
        "expected a model with the same sites at all values of the latent ones; got one with "
        f"{', '.join(map(repr, names))} at some only"
    )


def label(names: tuple[str, ...] | list[str]) -> str:
    """Return what several sites that share one log-density are called."""
    return ", ".join(names) if len(names) < 4 else f"{names[0]}, …, {names[-1]}"
