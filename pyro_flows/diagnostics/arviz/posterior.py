"""Draws of a guide, or of Markov chains, in ArviZ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...infer import Chains, Importance
from ...infer.model.model_draws import ModelDraws
from ...loop.warning import warn_caller
from ..results import as_list
from .constants import constant_data
from .container import attributes, check_names, container
from .naming import SAMPLE, Names, Variable, array

__all__ = ["to_arviz"]

_NOTE = (
    "independent draws of a variational guide, not a Markov chain; each chain is one fit, so R-hat compares "
    "fits, and the effective sample size of a single one is no sign of convergence"
)


def to_arviz(
    result: Importance | Sequence[Importance] | Chains,
    *,
    corrected: bool = False,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Return a guide's draws, or those of Markov chains, and what the model says of them, in ArviZ's groups.

    The groups are posterior, posterior_predictive, log_likelihood, log_prior, sample_stats, observed_data
    and, of the model's arguments, constant_data. sample_stats hold `lp`, the joint log-density, and `log_q`,
    the guide's.

    Draws of a guide have a `log_weight` too, their difference, and ``attrs`` with k̂, log evidence and its
    error, ELBO and effective sample size, one for each chain. They are independent, and each fit is a chain:
    ArviZ's R̂ then compares independent fits, and says nothing of the convergence of one. The attribute
    ``draws`` says so in every group. (NumPyro's converter puts such draws along one dimension, `sample`.
    ArviZ 0.x does not read that, the leave-one-out functions of 1.x refuse it, and it has no place for
    another fit.)

    Draws of `flow_mcmc` are an ordinary posterior, with the `acceptance_rate` of each step's local move.

    Dimensions are named after plates, and events after ``infer={"event_dims": [...]}`` of a site, as NumPyro
    has it. Masked observations are left out: ``y`` with a mask has the dimension ``y_observed``.

    Args:
        result: from `pyro_flows.infer.importance`, or several, of independent fits; or from
            `pyro_flows.infer.flow_mcmc`.
        corrected: whether to resample a guide's draws by their Pareto-smoothed importance weights;
            sample_stats then has no `log_weight`, since all draws weigh the same.
        coords: labels by dimension; 0, 1, … for those not given.
        dims: names of all dimensions of a variable but chain and draw, plates included, by the variable's
            name; for those not given see above.

    Returns:
        An `arviz.InferenceData` with ArviZ 0.x, an `xarray.DataTree` with 1.0 or later.

    Raises:
        ImportError: without ArviZ.
        TypeError: if `result` is something else.
        ValueError: if there is no result, the weights cannot correct anything, draws of chains are to be
            corrected, `coords` or `dims` name what isn't there, or a site is called as a dimension is, such
            as "chain". A plate called so is renamed by `dims`.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model(y):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y)):
        ...         pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> result = pf.infer.importance(model, guide, torch.ones(3), num_samples=50)
        >>> idata = pf.diagnostics.to_arviz(result)
        >>> dict(idata["log_likelihood"]["y"].sizes)
        {'chain': 1, 'draw': 50, 'row': 3}
    """
    if isinstance(result, Chains):
        if corrected:
            raise ValueError("expected draws of a guide to correct; got those of Markov chains")
        return _groups([result], partial(_by_chain, result.shape), _of_chains(result), {}, coords, dims)
    results = as_list(result)
    picks = [one.resampled_indices() if corrected else slice(None) for one in results]

    def picked(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([part[pick] for part, pick in zip(parts, picks, strict=True)])

    statistics = {
        "lp": [one.evaluation.log_p for one in results],
        "log_q": [one.evaluation.log_q for one in results],
    }
    if not corrected:
        statistics["log_weight"] = [one.log_weights for one in results]
    figures = ("khat", "log_evidence", "log_evidence_error", "elbo", "ess")
    attrs = {"draws": _NOTE} | {name: [getattr(one, name) for one in results] for name in figures}
    return _groups(results, picked, statistics, attrs, coords, dims)


def _of_chains(chains: Chains) -> dict[str, list[Tensor]]:
    return {
        "lp": [chains.evaluation.log_p],
        "log_q": [chains.evaluation.log_q],
        "acceptance_rate": [chains.local_acceptance.flatten()],
    }


def _by_chain(shape: tuple[int, int], parts: Sequence[Tensor]) -> Tensor:
    return parts[0].unflatten(0, shape)


def _groups(
    results: Sequence[ModelDraws],
    shaped: Callable[[Sequence[Tensor]], Tensor],
    statistics: Mapping[str, Sequence[Tensor]],
    attrs: Mapping[str, Any],
    coords: Mapping[str, Sequence[Any]] | None,
    dims: Mapping[str, Sequence[str]] | None,
) -> Any:
    """Return ArviZ's groups of results of one model.

    Args:
        results: the draws.
        shaped: makes one tensor of shape (chains, draws, …) of one of each result.
        statistics: what sample_stats hold, one tensor of each result.
        attrs: attributes.
        coords: as in `to_arviz`.
        dims: as in `to_arviz`.
    """
    first = results[0].evaluation
    names = Names(first, dims or {}, coords or {})

    def group(
        get: Callable[[ModelDraws], Mapping[str, Tensor]], how: Callable[..., Variable], **options: Any
    ) -> dict[str, Variable]:
        parts = [get(one) for one in results]
        return {name: how(shaped([part[name] for part in parts]), name, 2, **options) for name in parts[0]}

    if large := {name: size for one in results for name, size in one.evaluation.summed.items()}:
        told = ", ".join(f"{name} ({size:,} observations)" for name, size in large.items())
        warn_caller(
            "log_likelihood and posterior_predictive are left out, since so many draws would take too much "
            f"memory: {told}. With fewer draws they fit"
        )

    if scaled := [name for name in first.scales if name in first.log_likelihood]:
        warn_caller(
            "log_likelihood holds log-densities as `lp` counts them, multiplied by pyro.poutine.scale, so "
            f"that ArviZ's leave-one-out is not of single observations: {', '.join(scaled)}. "
            "pyro_flows.diagnostics.loo counts them right"
        )

    def likelihoods(one: ModelDraws) -> dict[str, Tensor]:
        return {name: value for name, value in one.evaluation.log_likelihood.items() if name not in large}

    observed = {name: names.observed(value, name, 0) for name, value in first.observed.items()}
    groups: dict[str, dict[str, Variable]] = {
        "posterior": group(lambda one: one.draws | one.discrete, names.variable),
        "posterior_predictive": group(lambda one: {} if large else one.predicted, names.observed),
        "log_likelihood": group(likelihoods, names.observed, events=False),
        "log_prior": group(lambda one: one.evaluation.log_prior, names.variable, events=False),
        "sample_stats": {name: (SAMPLE, array(shaped(parts))) for name, parts in statistics.items()},
        "observed_data": observed,
        "constant_data": constant_data(results[0], names, observed),
    }
    check_names("dims", names.dims, {name for variables in groups.values() for name in variables})
    check_names("coords", names.coords, names.known | {*SAMPLE})
    return container(groups, {**names.coords, **names.labels}, {**attributes(), **attrs})
