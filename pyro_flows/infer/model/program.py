"""Running a model with its guide, and telling their sites apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine import Trace
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from torch.distributions import constraints

__all__ = ["Program", "Wrapper", "is_data", "is_deterministic", "is_latent", "plain", "predictive", "samples"]

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]
Site = Mapping[str, Any]


def plain(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn` itself, to run it for one draw."""
    return fn


def samples(trace: Trace) -> dict[str, dict[str, Any]]:
    """Return the sample sites by name."""
    nodes = trace.nodes.items()
    return {name: site for name, site in nodes if site["type"] == "sample" and not site_is_subsample(site)}


def is_deterministic(site: Site) -> bool:
    """Whether it is a `pyro.deterministic`."""
    return bool(site["infer"].get("_deterministic", False))


def is_latent(site: Site) -> bool:
    """Whether it is a latent variable."""
    auxiliary = site["infer"].get("is_auxiliary", False)
    return not (site["is_observed"] or auxiliary or is_deterministic(site))


def is_data(site: Site) -> bool:
    """Whether it is observed, a factor included."""
    return site["is_observed"] and not is_deterministic(site)


class _Unobserved(UnconditionMessenger):
    """Draws what was observed; Pyro's own would draw deterministic sites too, in a plate's shape twice."""

    def _pyro_sample(self, msg: Any) -> None:
        if not is_deterministic(msg):
            super()._pyro_sample(msg)


def predictive(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return a model that draws its observations."""
    return _Unobserved()(model)


def _bound(site: dict[str, Any]) -> None:
    """Give values outside a bounded support the density zero; unvalidated, some get a plausible one."""
    support = site["fn"].support
    while isinstance(support, type(constraints.real_vector)):
        support = support.base_constraint
    if support.event_dim == 0 and support is not constraints.real and not is_deterministic(site):
        inside = sum_rightmost(~support.check(site["value"]), site["fn"].event_dim) == 0
        site["log_prob"] = torch.where(inside, site["log_prob"], -torch.inf)


@dataclass(frozen=True)
class Program:
    """A model, its guide, and what both are called with.

    To be run without Pyro's validation, so that NaN comes back as such and not as an error in some of the
    draws.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def prepare(self) -> None:
        """Call the guide once, with gradients on: it may set itself up in its first call."""
        with poutine.block():
            self.guide(*self.args, **self.kwargs)

    def traces(self, wrapper: Wrapper, fixed: Trace | None = None) -> tuple[Trace, Trace]:
        """Return the traces of guide and model, with log-densities; `fixed` has the guide's draws."""
        guide, model = wrapper(self.guide), wrapper(self.model)
        if fixed is not None:
            guide = poutine.replay(guide, trace=fixed)
        with poutine.block():
            q = poutine.trace(guide).get_trace(*self.args, **self.kwargs)
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(*self.args, **self.kwargs)
        q, p = prune_subsample_sites(q), prune_subsample_sites(p)
        q.compute_log_prob()
        p.compute_log_prob()
        for site in samples(p).values():
            _bound(site)
        return q, p

    def check(self, q: Trace, p: Trace) -> None:
        """Raise a ValueError where the traces do not fit each other, or are of a part of the data."""
        for trace, who in ((q, "guide"), (p, "model")):
            for site in samples(trace).values():
                for frame in site["cond_indep_stack"]:
                    if frame.full_size not in (None, frame.size):
                        raise ValueError(
                            f"expected the {who} over all data, since weights of a subsample say nothing of "
                            f"the posterior; got {frame.size} of {frame.full_size} in plate {frame.name!r}"
                        )
        guided = {name for name, site in samples(q).items() if not site["is_observed"]}
        latent = {name for name, site in samples(p).items() if is_latent(site)}
        if missing := sorted(latent - guided):
            raise ValueError(f"expected a guide of every latent variable; got none for {', '.join(missing)}")
        own = {name for name, site in samples(q).items() if is_latent(site)}
        if extra := sorted(own - latent):
            raise ValueError(f"expected a guide of the latent variables only; got also {', '.join(extra)}")
