"""Telling a model's sample sites apart: latent, enumerated, observed, deterministic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.distributions import Delta, ExpandedDistribution, Independent, MaskedDistribution
from pyro.poutine import Trace
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from pyro.poutine.util import site_is_subsample
from torch.distributions import constraints

__all__ = [
    "Site",
    "how_to_sum_out",
    "is_data",
    "is_deterministic",
    "is_enumerated",
    "is_latent",
    "is_point",
    "known_support",
    "predictive",
    "samples",
]

Site = Mapping[str, Any]

_WRAPPERS = (ExpandedDistribution, Independent, MaskedDistribution, torch.distributions.Independent)


def samples(trace: Trace) -> dict[str, dict[str, Any]]:
    """Return the sample sites by name, without those that choose a subsample."""
    nodes = trace.nodes.items()
    return {name: site for name, site in nodes if site["type"] == "sample" and not site_is_subsample(site)}


def is_deterministic(site: Site) -> bool:
    """Whether its value is computed: `pyro.deterministic`, a reparameterised site, ``Delta(v), obs=v``."""
    return bool(site["infer"].get("_deterministic", False)) or (
        site["is_observed"] and _is_at_its_point(site)
    )


def is_latent(site: Site) -> bool:
    """Whether it is a latent variable, discrete ones included."""
    return not (site["is_observed"] or site["infer"].get("is_auxiliary", False) or is_deterministic(site))


def is_data(site: Site) -> bool:
    """Whether it is observed, a factor included."""
    return site["is_observed"] and not is_deterministic(site)


def is_enumerated(site: Site) -> bool:
    """Whether it is a discrete latent site that the model says to sum out."""
    return (
        is_latent(site) and site["infer"].get("enumerate") == "parallel" and site["fn"].has_enumerate_support
    )


def known_support(fn: Any) -> constraints.Constraint | None:
    """Return a distribution's support, None if it does not tell it."""
    try:
        support: constraints.Constraint = fn.support
    except NotImplementedError:
        return None
    return support


def how_to_sum_out(site: Site) -> str:
    """Return what to add to an error about a discrete site."""
    name, fn = site["name"], _unwrapped(site["fn"])
    if not site["fn"].has_enumerate_support:
        return (
            f": Pyro does not enumerate the values of a {type(fn).__name__}. Give {name!r} a distribution of "
            "finitely many, such as a Categorical, or sum it out in the model's likelihood"
        )
    if (marked := site["infer"].get("enumerate")) is not None:
        return f": it is marked by infer={{'enumerate': {marked!r}}}, and only 'parallel' is supported"
    return (
        f": to sum the discrete site {name!r} out of the model, mark it by "
        "infer={'enumerate': 'parallel'}, or wrap the model by pyro.infer.config_enumerate"
    )


def is_point(site: Site) -> bool:
    """Whether its distribution is a point mass."""
    return isinstance(_unwrapped(site["fn"]), Delta)


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    return fn


def _is_at_its_point(site: Site) -> bool:
    """Whether its distribution is a point mass at the very tensor that it has as value."""
    fn, value = _unwrapped(site["fn"]), site["value"]
    if not isinstance(fn, Delta) or not isinstance(value, torch.Tensor):
        return False
    if fn.v is value:
        return True
    return fn.v.numel() > 0 and value.numel() > 0 and fn.v.data_ptr() == value.data_ptr()


class _Unobserved(UnconditionMessenger):
    """Draws what was observed; Pyro's own would draw deterministic sites too, in a plate's shape twice."""

    def _pyro_sample(self, msg: Any) -> None:
        if not is_deterministic(msg):
            super()._pyro_sample(msg)


def predictive(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return a model that draws its observations."""
    return _Unobserved()(model)
