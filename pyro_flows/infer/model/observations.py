"""Observations at which a model has no density, whatever its latent variables are."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import constraints
from pyro.poutine import Trace
from torch import Tensor

from .program import Site, is_data, known_support, samples
from .scoring import inside, log_density

__all__ = ["check_observations", "same_values"]


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape are equal, NaN in the same places included."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def check_observations(one: Trace, other: Trace, *, summed_out: bool = False) -> None:
    """Say which observations have no density in two runs of a model.

    Args:
        one: a run.
        other: another one, at other values of the latent sites.
        summed_out: whether discrete sites, on which a support may depend, are summed out.

    Raises:
        ValueError: if an observation is NaN, infinite or outside of its support in both, and counts.
    """
    others = samples(other)
    for name, site in samples(one).items():
        twin = others.get(name)
        if twin is None or not is_data(site) or site["value"].shape != twin["value"].shape:
            continue
        if not same_values(site["value"], twin["value"]):  # it was computed
            continue
        if (bad := _not_finite(site) & _not_finite(twin)).any():
            raise ValueError(
                f"expected finite observations, or NaN under a mask; got {_told(site, bad)} NaN or infinite: "
                "leave out what is missing by pyro.sample(..., obs_mask=...) or pyro.poutine.mask"
            )
        fixed = not summed_out and _same_bounds(known_support(site["fn"]), known_support(twin["fn"]))
        if fixed and (bad := _outside(site) & _outside(twin)).any():
            raise ValueError(
                "expected observations inside the support of their distribution; got "
                f"{_told(site, bad)} outside that of {type(site['fn']).__name__}"
            )


def _not_finite(site: Site) -> Tensor:
    """Return where an observation that is NaN or infinite has no density, over the batch shape."""
    value, score = site["value"], log_density(site)
    finite = value.isfinite()
    if site["fn"].event_dim:
        finite = finite.flatten(-site["fn"].event_dim).all(-1)
    return ~finite & (score.isnan() | (score == -torch.inf))


def _outside(site: Site) -> Tensor:
    """Return where an observation that counts lies outside its support, over the batch shape."""
    ok, score = inside(site["fn"], site["value"]), log_density(site)
    return torch.zeros_like(score, dtype=torch.bool) if ok is None else ~ok & (score == -torch.inf)


def _told(site: Site, bad: Tensor) -> str:
    name = f"the site {site['name']!r}"
    if bad.numel() == 1:
        return f"that of {name}"
    first = ", ".join(map(str, bad.nonzero()[0].tolist()))
    return f"{int(bad.sum())} of {bad.numel()} of {name}, the first at [{first}],"


def _same_bounds(a: Any, b: Any) -> bool:
    """Whether two supports are the same, as far as their numbers tell."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and same_values(a, b)
    if isinstance(a, constraints.Constraint):
        return type(a) is type(b) and all(_same_bounds(x, vars(b).get(key)) for key, x in vars(a).items())
    return bool(a == b)
