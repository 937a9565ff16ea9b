"""A model's log-density over unconstrained vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...loop.warning import warn_caller
from .batches import even_parts
from .given import trace_at
from .joint import Joint
from .latents import Latents
from .runs import How, ModelRuns
from .seeds import fixed_seed, unvalidated

__all__ = ["SEEN_A_PART", "LogDensity", "fixed_seed", "log_joint", "trace_at", "unvalidated"]

SEEN_A_PART = "the model has seen a part of the data only"
_PREPARED = 3  # times at most, while no draw has a finite density


def log_joint(
    model: Callable[..., Any], values: Mapping[str, Tensor], args: Any = (), kwargs: Any = None
) -> Tensor:
    """Return log p(values, data) of one draw: scaled and masked as the model says, discrete sites summed out.

    Args:
        model: the model.
        values: of each latent site, in the site's shape.
        args: the model's positional arguments.
        kwargs: the model's keyword arguments.
    """
    with unvalidated():
        return Joint.at(model, args, kwargs or {}, values).total(values)


class LogDensity:
    """log p(x(u), data) + log|det dx/du| of unconstrained vectors u, many at once.

    The first call chooses how the model runs at many draws: under a plate, else by `torch.func.vmap`,
    else one by one, with a warning. Draws at which it raises, or is NaN, have the density zero, and
    gradients are those of the others.

    Args:
        model: the model.
        latents: how its latent sites are packed into a vector.
        args: the model's positional arguments.
        kwargs: the model's keyword arguments.
        runs: the model's runs, if they are prepared already.

    Raises:
        ValueError: in the first call, if the model's latent sites are not those of `latents`, or an
            observation has no density at any draw; in any, if the model raises at more than half of the
            draws, its sites vary from draw to draw, or the density is the same everywhere.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        latents: Latents,
        args: Any,
        kwargs: Any,
        *,
        runs: ModelRuns | None = None,
    ) -> None:
        self.latents = latents
        self.runs = runs or ModelRuns(model, args, kwargs)
        self._times = 0 if runs is None else _PREPARED

    @property
    def how(self) -> How | None:
        """How the model runs at many draws, and why; None before the first call."""
        return self.runs.how

    @property
    def failed(self) -> int:
        """The number of draws so far at which the model raised."""
        return self.runs.failed

    @property
    def redrawn(self) -> bool:
        """Whether the log-density varies from run to run without a subsample; told by `prepare`."""
        return self.runs.redrawn

    def __call__(self, u: Tensor) -> Tensor:
        """Return the log-density of each row of `u`, of shape (draws, d), as (draws,).

        Raises:
            ValueError: as above, and if the log-density varies from run to run without a subsample.
        """
        self.prepare(u)
        if self.redrawn:
            raise ValueError(
                "expected a log-density that is the same in every run; got one that varies while the latent "
                "sites do not: poutine.block hides a random site, or the model draws numbers by itself"
            )
        if len(u) == 0:
            return u.new_zeros(0)
        nan = torch.zeros((), dtype=torch.bool, device=u.device)
        traced = u.requires_grad and torch.is_grad_enabled()
        if traced:
            u = u.view_as(u)
            u.register_hook(lambda gradient: torch.where(nan[..., None], 0.0, gradient))
        with unvalidated():
            values, log_det = self.latents.constrain(u, self.runs.nesting)
            total = self.runs.total(values) + log_det
        if traced and not total.requires_grad:
            raise ValueError(
                "expected a log-density that depends on the latent sites; got one without a gradient: it is "
                "the same everywhere, so that there is no posterior, or the model detaches them"
            )
        nan = total.isnan()
        return torch.where(nan, -torch.inf, total)

    def in_parts(self, u: Tensor) -> Tensor:
        """Return what a call does, of as many rows at once as take a bounded part of the memory."""
        self.prepare(u)
        return torch.cat([self(part) for part in even_parts(u, self.runs.together)])

    def prepare(self, u: Tensor) -> None:
        """Choose how the model runs at many draws, near rows of `u`, if that has not been done."""
        if self.runs.sure or self._times >= _PREPARED or len(u) == 0:
            return
        self._times += 1
        rows = u.detach()[:30]
        step = torch.linspace(-0.1, 0.1, 3, dtype=u.dtype, device=u.device)[:, None]  # so that rows differ
        with torch.no_grad(), unvalidated():
            self.runs.prepare(
                self.latents.constrain(torch.cat([rows[:3] + step[: len(rows)], rows, rows[:1] + step]))[0],
                check=lambda layout: layout.check_guide(site.name for site in self.latents.sites),
            )
        layout = self.runs.joint.layout
        if layout.part and not self.runs.random:
            warn_caller(
                f"{SEEN_A_PART}, the same in every run: {layout.part}. Use "
                "subsample_size instead of a fixed subsample, or give all data"
            )

    def seeded(self, u: Tensor) -> Tensor:
        """Return the log-density with whatever the model draws, a subsample say, the same each time."""
        self.prepare(u)
        with fixed_seed(u.device):
            return self(u)
