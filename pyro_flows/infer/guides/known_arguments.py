"""Whether other arguments of the model leave its latent sites as a guide knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch.distributions import constraints

from ..model.density import unvalidated
from ..model.latents import Latents
from ..model.packing import PackedSite
from ..model.program import Site, is_data, is_latent, samples
from .arguments import digest_of, shapes_of

__all__ = ["KnownArguments"]

_FIXED = {id(known) for module in (constraints, dist.constraints) for known in vars(module).values()}


class KnownArguments:
    """Remembers which of the model's arguments it has checked: the model is run for new ones only.

    A site that was observed when the guide was set up is no latent site if it has no value later, when
    observations are predicted.

    Args:
        latents: the latent sites that the guide knows.
        trace: of the model with the first arguments.
        args: the first positional arguments.
        kwargs: the first keyword arguments.
    """

    def __init__(
        self, latents: Latents, trace: Trace, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        sites = samples(trace)
        self.latents = latents
        self._observed = {name for name, site in sites.items() if is_data(site)}
        self._may_move = any(_may_move(sites[site.name]) for site in latents.sites)
        self._shapes = {shapes_of(args, kwargs)}
        self._digest = digest_of(args, kwargs)

    def check(
        self,
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        values: bool = False,
    ) -> None:
        """Run the model if the arguments are new.

        Args:
            model: the model with its initial values.
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
            values: whether arguments of other values are new too, and not only those of other shapes; they
                always are if a latent site's support is made of numbers, which may come from the data.

        Raises:
            ValueError: if a latent site is missing, new, of another shape or of another support.
        """
        shapes, digest = shapes_of(args, kwargs), ""
        if (values or self._may_move) and not torch.jit.is_tracing():
            digest = digest_of(args, kwargs)
        if digest == self._digest if digest else shapes in self._shapes:
            return
        with torch.no_grad(), poutine.block(), unvalidated():
            trace = poutine.trace(model).get_trace(*args, **kwargs)
        predicted = [
            name for name, site in samples(trace).items() if name in self._observed and is_latent(site)
        ]
        for name in predicted:
            trace.remove_node(name)
        found = Latents(trace)
        self._compare_shapes(found)
        if not predicted:  # the guide's draws keep the support of the data that it was fitted to
            self._compare_supports(found)
        self._shapes.add(shapes)
        self._digest = digest or self._digest

    def _compare_shapes(self, found: Latents) -> None:
        before, now = (
            {site.name: tuple(site.shape) for site in known.sites} for known in (self.latents, found)
        )
        if before != now:
            names = [name for name in before | now if before.get(name) != now.get(name)]
            raise ValueError(
                "expected arguments that leave the latent sites as they were when the guide was set up, "
                f"{_told(before, names)}; got {_told(now, names)}: make another guide for these data"
            )

    def _compare_supports(self, found: Latents) -> None:
        like = torch.empty((), dtype=found.dtype, device=found.device)
        others = {site.name: site for site in found.sites}
        for site in self.latents.sites:
            if not _same_support(site, others[site.name], like):
                raise ValueError(
                    "expected arguments that leave the latent sites' supports as they were when the guide "
                    f"was set up; got another one of {site.name!r}: make another guide for these data"
                )


def _may_move(site: Site) -> bool:
    """Whether a site's support is not one of the constants, such as the positive numbers."""
    support = site["fn"].support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return id(support) not in _FIXED


def _same_support(a: PackedSite, b: PackedSite, like: torch.Tensor) -> bool:
    return a.unconstrained == b.unconstrained and a.same_support(b, like) and b.same_support(a, like)


def _told(shapes: dict[str, tuple[int, ...]], names: list[str]) -> str:
    return ", ".join(
        f"{name!r} of shape {shapes[name]}" if name in shapes else f"no {name!r}" for name in names
    )
