"""Draws of a guide with their log-densities: under one plate, else by `torch.func.vmap`, else one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ...loop.warning import warn_caller
from .given import trace_at
from .layout import Layout
from .program import samples
from .scoring import log_density

__all__ = ["GuideDraws"]

_PLATE = "_pyro_flows_draws"
_ALIKE = 1e-3  # nats, of a draw's log-density alone and among others
Draws = tuple[dict[str, Tensor], Tensor]


class GuideDraws:
    """Draws the latent sites of a guide, (draws, *site) each, and scores the draws, (draws,).

    The way is chosen in the first call. To be used without Pyro's argument checks.

    Args:
        guide: a Pyro guide.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """

    def __init__(self, guide: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
        self.guide, self.args, self.kwargs = guide, args, kwargs
        first, second = self._trace(), self._trace()
        self.layout = Layout.of(first)
        self._varying = [
            name
            for name, site in samples(first).items()
            if name not in second.nodes or not site["value"].equal(second.nodes[name]["value"])
        ]
        self._way: Callable[[int], Draws] | None = None

    def __call__(self, count: int) -> Draws:
        """Return `count` draws and their log-densities."""
        if self._way is not None:
            return self._way(count)
        reasons = []
        for way in (self._under_a_plate, self._by_vmap):
            try:
                found = way(count)
                self._check(found)
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}")
            else:
                self._way = way
                return found
        warn_caller(
            f"the guide does not draw many times at once (under a plate {reasons[0]}; under vmap "
            f"{reasons[1]}); drawing one by one, which is slow"
        )
        self._way = self._one_by_one
        return self._way(count)

    def _trace(self, outer: AbstractContextManager[Any] | None = None) -> Trace:
        with poutine.block(), poutine.trace() as tracer, outer or nullcontext():
            self.guide(*self.args, **self.kwargs)
        trace: Trace = tracer.trace
        return trace

    def _under_a_plate(self, count: int) -> Draws:
        trace = self._trace(pyro.plate(_PLATE, count, dim=-self.layout.nesting - 1))
        values, log_q = {}, torch.zeros((), dtype=torch.double)
        for name, site in samples(trace).items():
            shape, event_dim = self.layout.values[name], self.layout.event_dims[name]
            values[name] = self.layout.per_draw(site["value"], shape, event_dim, count)
            score = self.layout.per_draw(log_density(site), self.layout.batches[name], 0, count)
            log_q = log_q + score.reshape(count, -1).sum(-1, dtype=torch.float64)
        return values, log_q

    def _alone(self) -> Draws:
        sites = samples(self._trace())
        log_q = sum(log_density(site).double().sum() for site in sites.values())
        return {name: site["value"] for name, site in sites.items()}, torch.as_tensor(log_q)

    def _by_vmap(self, count: int) -> Draws:
        found: Draws = torch.func.vmap(lambda _: self._alone(), randomness="different")(torch.arange(count))
        return found

    def _one_by_one(self, count: int) -> Draws:
        values, log_q = zip(*(self._alone() for _ in range(count)), strict=True)
        return {n: torch.stack([row[n] for row in values]) for n in values[0]}, torch.stack(log_q)

    def _check(self, found: Draws) -> None:
        """Raise a ValueError if draws are alike, or score differently alone."""
        values, log_q = found
        if len(log_q) > 1 and any(bool((values[name] == values[name][0]).all()) for name in self._varying):
            raise ValueError("the draws are all the same")
        for i in range(min(2, len(log_q))):
            free = {name: value[i] for name, value in values.items() if name not in self.layout.points}
            trace = trace_at(self.guide, free, self.args, self.kwargs)
            expected = sum(float(log_density(site).double().sum()) for site in samples(trace).values())
            got = float(log_q[i])
            close = math.isclose(expected, got, rel_tol=1e-4, abs_tol=_ALIKE)
            if not (close or (math.isnan(expected) and math.isnan(got))):
                raise ValueError(f"a draw has log q {expected:.6g} alone and {got:.6g} among others")
