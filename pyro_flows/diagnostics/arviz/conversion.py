"""From guides and flows to ArviZ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...flow import Flow
from ...infer import Evaluation, Importance, importance
from .container import container

__all__ = ["density_to_arviz", "to_arviz"]

Guide = Callable[..., Any]
Variable = tuple[list[str], Any]
_SAMPLE = ["chain", "draw"]


def to_arviz(
    guide: Guide | Sequence[Guide],
    model: Callable[..., Any],
    *args: Any,
    num_samples: int = 1000,
    corrected: bool = False,
    coords: Mapping[str, Sequence[Any]] | None = None,
    **kwargs: Any,
) -> Any:
    """Return draws of a guide, and what the model says of them, as ArviZ keeps them.

    The groups are posterior, posterior_predictive, log_likelihood, log_prior, sample_stats (`lp`, the joint
    log-density; `log_q`; `log_weight`, their difference), observed_data and, of the model's arguments,
    constant_data. Plates name the dimensions. ``attrs`` hold k̂, log evidence and its error, ELBO and
    effective sample size, one for each chain.

    Args:
        guide: a fitted guide, or several, fitted independently: each becomes a chain, so that R̂ compares
            them.
        model: the model.
        *args: what both are called with.
        num_samples: draws a chain.
        corrected: resample the draws by their Pareto-smoothed importance weights; sample_stats then has no
            `log_weight`, since they weigh the same.
        coords: labels by plate or dimension; 0, 1, … for those not given.
        **kwargs: what both are called with.

    Returns:
        An `arviz.InferenceData` with ArviZ 0.x, an `xarray.DataTree` with 1.0 or later.

    Raises:
        ImportError: without ArviZ.
        ValueError: where guide and model do not fit, or the weights cannot correct anything.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model(y):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y)):
        ...         pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> idata = pf.diagnostics.to_arviz(guide, model, torch.ones(3), num_samples=50)
        >>> dict(idata["log_likelihood"]["y"].sizes)
        {'chain': 1, 'draw': 50, 'row': 3}
    """
    guides: list[Any] = list(guide) if isinstance(guide, list | tuple) else [guide]
    if not guides:
        raise ValueError("expected a guide, or several; got none")
    results = [importance(model, one, *args, num_samples=num_samples, **kwargs) for one in guides]
    return from_importance(results, _constants(model, args, kwargs), corrected=corrected, coords=coords)


def from_importance(
    results: Sequence[Importance],
    constants: Mapping[str, Any],
    *,
    corrected: bool = False,
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Return draws that were weighed already; `constants` are candidates for constant_data."""
    first = results[0].evaluation
    picks = [result.resampled_indices() if corrected else slice(None) for result in results]

    def stacked(get: Callable[[Importance], Mapping[str, Tensor]], *, events: bool) -> dict[str, Variable]:
        variables = {}
        for name in get(results[0]):
            rows = [get(result)[name] for result in results]
            array = torch.stack([part[pick] for part, pick in zip(rows, picks, strict=True)])
            variables[name] = _named(array, name, first, 2, events=events)
        return variables

    statistics: dict[str, Callable[[Importance], Tensor]] = {
        "lp": lambda result: result.evaluation.log_p,
        "log_q": lambda result: result.evaluation.log_q,
    }
    if not corrected:
        statistics["log_weight"] = lambda result: result.log_weights
    observed = {name: _named(value, name, first, 0, events=True) for name, value in first.observed.items()}
    groups = {
        "posterior": stacked(lambda result: result.draws, events=True),
        "posterior_predictive": stacked(lambda result: result.predicted, events=True),
        "log_likelihood": stacked(lambda result: result.evaluation.log_likelihood, events=False),
        "log_prior": stacked(lambda result: result.evaluation.log_prior, events=False),
        "sample_stats": {
            name: (
                _SAMPLE,
                _array(torch.stack([get(result)[pick] for result, pick in zip(results, picks, strict=True)])),
            )
            for name, get in statistics.items()
        },
        "observed_data": observed,
        "constant_data": _constant_data(constants, first, observed),
    }
    figures = ("khat", "log_evidence", "log_evidence_error", "elbo", "ess")
    attrs = {name: [getattr(result, name) for result in results] for name in figures}
    return container(groups, coords or {}, {"inference_library": "pyro_flows", **attrs})


def density_to_arviz(
    flow: Flow | Sequence[Flow],
    data: Any,
    context: Any = None,
    *,
    name: str = "y",
    num_samples: int = 1000,
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Return a density flow's scores of held-out rows, and samples of it, as ArviZ keeps them.

    The groups are log_likelihood (one draw, since a flow fitted by maximum likelihood is a point),
    observed_data, posterior_predictive, and constant_data for a context. The rows' dimension is called
    ``row``.

    Args:
        flow: a trained flow, or several, trained independently: each becomes a chain.
        data: held-out rows, of shape (rows, *event).
        context: their contexts, of shape (rows, *context), for conditional flows.
        name: what to call the data.
        num_samples: samples of each flow, for each row where there is a context.
        coords: labels by dimension, ``row`` among them.

    Raises:
        ImportError: without ArviZ.
        ValueError: where shapes do not fit.

    Example:
        >>> import torch, pyro_flows as pf
        >>> idata = pf.diagnostics.density_to_arviz(pf.Flow(pf.real_nvp(2)), torch.randn(5, 2))
        >>> dict(idata["log_likelihood"]["y"].sizes)
        {'chain': 1, 'draw': 1, 'row': 5}
    """
    flows: list[Any] = list(flow) if isinstance(flow, list | tuple) else [flow]
    if not flows:
        raise ValueError("expected a flow, or several; got none")
    like = next((t for t in flows[0].state_dict().values() if t.is_floating_point()), torch.empty(0))
    rows = torch.as_tensor(data).to(like)
    given = None if context is None else torch.as_tensor(context).to(like)
    with torch.no_grad():
        scores = torch.stack([one(given).log_prob(rows) for one in flows]).unsqueeze(1)
        samples = torch.stack([one(given).sample((num_samples,)) for one in flows])
    if scores.dim() != 3:
        raise ValueError(f"expected data of shape (rows, *event); got {tuple(rows.shape)}")
    events = [f"{name}_dim_{i}" for i in range(rows.dim() - 1)]
    per_row = ["row"] if given is not None else []
    groups: dict[str, dict[str, Variable]] = {
        "log_likelihood": {name: ([*_SAMPLE, "row"], _array(scores))},
        "posterior_predictive": {name: ([*_SAMPLE, *per_row, *events], _array(samples))},
        "observed_data": {name: (["row", *events], _array(rows))},
    }
    if given is not None:
        dims = ["row", *(f"context_dim_{i}" for i in range(given.dim() - 1))]
        groups["constant_data"] = {"context": (dims, _array(given))}
    return container(groups, coords or {}, {"inference_library": "pyro_flows"})


def _array(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _named(array: Tensor, name: str, source: Evaluation, lead: int, *, events: bool) -> Variable:
    """Name the dimensions of a site after its plates, and drop those of size one that have no name.

    Args:
        array: of shape (*lead, *batch, *event), or without event where `events` is false.
        name: the site's.
        source: what knows the site's plates.
        lead: 2 for an array that starts with chain and draw, 0 for one that doesn't.
        events: whether the array has the site's event dimensions.
    """
    plates = source.plates.get(name, {})
    event_dim = source.event_dims.get(name, 0) if events else 0
    shape = array.shape[lead:]
    batch_dim = len(shape) - event_dim
    dims: list[str] = []
    kept: list[int] = []
    for i, size in enumerate(shape):
        plate = plates.get(i - batch_dim) if i < batch_dim else None
        if plate is None and i < batch_dim and size == 1:
            continue
        dims.append(plate or f"{name}_dim_{len(dims)}")
        kept.append(size)
    return [*_SAMPLE[:lead], *dims], _array(array.reshape((*array.shape[:lead], *kept)))


def _constants(model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's arguments by name, those of ``*args`` numbered."""
    try:
        signature = inspect.signature(model)
        bound = signature.bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}_{i}": part for i, part in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def _constant_data(
    constants: Mapping[str, Any], source: Evaluation, observed: Mapping[str, Variable]
) -> dict[str, Variable]:
    """Keep numbers and arrays that were not observed, the first dimension named after a plate of its size."""
    sizes: dict[int, set[str]] = {}
    for dims, array in observed.values():
        for dim, size in zip(dims, array.shape, strict=True):
            if not dim.startswith(tuple(f"{name}_dim_" for name in observed)):
                sizes.setdefault(size, set()).add(dim)
    kept: dict[str, Variable] = {}
    for name, value in constants.items():
        if isinstance(value, bool) or not isinstance(value, Tensor | np.ndarray | Number):
            continue
        array = _array(value)
        if any(array.shape == data.shape and (array == data).all() for _, data in observed.values()):
            continue
        if name in observed:
            name = f"{name}_argument"
        dims = [f"{name}_dim_{i}" for i in range(array.ndim)]
        if dims and len(sizes.get(len(array), ())) == 1:
            dims[0] = next(iter(sizes[len(array)]))
        kept[name] = (dims, array)
    return kept
