"""A model's log-density, evaluated for many latent vectors at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Tensor

from .latents import Latents

__all__ = ["LogDensity", "log_joint", "trace_at"]

_PLATE = "_pyro_flows_particles"


class _Score(Messenger):
    """Gives latent sites their values and adds up the log-densities of all sites."""

    def __init__(self, values: dict[str, Tensor], batch_dim: int) -> None:
        super().__init__()
        self.values, self.batch_dim = values, batch_dim
        self.total: Tensor | float = 0.0

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample" or msg["infer"].get("_deterministic"):
            return
        if not msg["is_observed"] and msg["name"] not in self.values:
            raise ValueError(
                f"the model has a latent site {msg['name']!r} that it had not when the guide was set up"
            )
        log_prob = msg["fn"].log_prob(msg["value"], *msg["args"], **msg["kwargs"])
        log_prob = scale_and_mask(log_prob, msg["scale"], msg["mask"])
        if isinstance(log_prob, Tensor):
            if not self.batch_dim:
                log_prob = log_prob.sum()
            elif log_prob.dim() > 1:  # the particles lie along the first dimension
                log_prob = log_prob.flatten(1).sum(-1)
        self.total = self.total + log_prob


def log_joint(
    model: Callable[..., Any], values: dict[str, Tensor], args: Any = (), kwargs: Any = None, depth: int = -1
) -> Tensor:
    """Return log p(values, data), scaled and masked as the model says.

    Args:
        model: the model.
        values: of each latent site, of shape (particles, 1 …, *plates, *event) with `depth` dimensions
            for the plates, or (*plates, *event) where `depth` is −1.
        args: the model's positional arguments.
        kwargs: the model's keyword arguments.
        depth: how many dimensions the model's plates take, or −1 for a single particle.

    Returns:
        A tensor of shape (particles,), or () for a single particle.
    """
    score = _Score(values, depth + 1)
    with poutine.block(), score:
        if depth < 0:
            model(*args, **(kwargs or {}))
        else:
            count = next(iter(values.values())).shape[0]
            # Plates outside of us, such as an ELBO's own particles, have taken their dimensions.
            dim = -max(depth, len(_DIM_ALLOCATOR._stack)) - 1
            with pyro.plate(_PLATE, count, dim=dim):
                model(*args, **(kwargs or {}))
    if not isinstance(score.total, Tensor):
        raise ValueError("expected a model with at least one sample site; got none")
    return score.total


def trace_at(model: Callable[..., Any], values: dict[str, Tensor], args: Any, kwargs: Any) -> poutine.Trace:
    """Return a trace of the model with the given values of its latent sites."""
    with poutine.block(), _Score(values, 0), unvalidated():
        return poutine.trace(model).get_trace(*args, **kwargs)


class LogDensity:
    """log p(x(u), data) + log|det dx/du| of unconstrained vectors u, evaluated under one plate.

    The first call compares the particles with single runs of the model; a model that does not
    broadcast is run in a loop from then on, with a warning.

    Args:
        model: the model.
        latents: how its latent sites are packed into a vector.
        args: the model's positional arguments.
        kwargs: the model's keyword arguments.

    Raises:
        ValueError: where the model has latent sites that `latents` does not know.
    """

    def __init__(self, model: Callable[..., Any], latents: Latents, args: Any, kwargs: Any) -> None:
        self.model, self.latents, self.args, self.kwargs = model, latents, args, kwargs
        self.vectorized: bool | None = None

    def __call__(self, u: Tensor) -> Tensor:
        """Return the log-density of each row of `u`, of shape (particles, d), as (particles,)."""
        with unvalidated():
            if self.vectorized is None:
                self.vectorized = self._broadcasts(u)
            return self._together(u) if self.vectorized else self._one_by_one(u)

    def seeded(self, u: Tensor) -> Tensor:
        """Return the log-density with whatever the model draws, a subsample say, the same each time."""
        with fixed_seed(u.device):
            return self(u)

    def _together(self, u: Tensor) -> Tensor:
        values, log_det = self.latents.constrain(u, self.latents.depth)
        total = log_joint(self.model, values, self.args, self.kwargs, self.latents.depth)
        return total + log_det

    def _one_by_one(self, u: Tensor) -> Tensor:
        scores = []
        for row in u:
            values, log_det = self.latents.constrain(row)
            scores.append(log_joint(self.model, values, self.args, self.kwargs) + log_det)
        return torch.stack(scores)

    @torch.no_grad()
    def _broadcasts(self, u: Tensor) -> bool:
        rows = u.detach()[:3]
        if len(rows) < 3:  # so that rows differ, and their number is no plate's
            step = torch.linspace(-0.1, 0.1, 3, dtype=u.dtype, device=u.device)[:, None]
            rows = rows[:1] + step
        wanted = torch.stack([self._alone(row) for row in rows])
        random = not _close(self._alone(rows[0], seed=1), wanted[0])  # then particles may draw their own
        try:
            with fixed_seed(rows.device):
                found = self._together(rows)
        except Exception as error:
            reason = f"it raised {type(error).__name__}: {error}"
        else:
            if found.shape == wanted.shape and (random or _close(found, wanted)):
                return True
            reason = "its particles score differently together than alone"
        warnings.warn(
            f"the model does not broadcast over a plate of particles, since {reason}. It is run once for "
            "each particle, which is slow; let it take batch dimensions on the left of every latent's shape",
            stacklevel=2,
        )
        return False

    def _alone(self, row: Tensor, seed: int = 0) -> Tensor:
        with fixed_seed(row.device, seed):
            return self._one_by_one(row[None])[0]


def _close(a: Tensor, b: Tensor) -> bool:
    tolerance = (1e-3 if a.dtype == torch.float32 else 1e-6) * (1 + b.abs())
    return bool((((a - b).abs() <= tolerance) | ~(a.isfinite() | b.isfinite())).all())


@contextmanager
def fixed_seed(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Draw the same random numbers each time; the caller's generators are given back as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def unvalidated() -> Iterator[None]:
    """Switch Pyro's argument checks off: a third of a small model's time."""
    with pyro.validation_enabled(False):
        yield
