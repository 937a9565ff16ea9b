"""The Gaussian that a flow starts from, near the posterior and found in a small part of the time of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..model.density import LogDensity, fixed_seed, log_joint, trace_at
from ..model.latents import Latents
from ..model.program import samples
from .gaussian import fit_gaussian, log_weights, lower_triangular, mean_weight
from .newton import newton_path

__all__ = ["best_gaussian", "draws_together", "simple_gaussians", "starting_gaussian"]

Density = Callable[[Tensor], Tensor]
Gaussian = tuple[Tensor, Tensor]  # location and triangular scale, or its diagonal

STEPS = 500
BATCH = 128  # draws a step
FEWEST_DRAWS = 16
MOST_ELEMENTS = 2**22  # log-densities of single sites' elements that are held in memory at once
NEAR = 0.05  # nats of half the log-weights' variance, below which a Newton step's Gaussian will do
PLAIN_SCALE = 0.1  # as Pyro's guides have it
SEEDS = 4
TRIALS = 100  # points around a start at which the density is not finite


def draws_together(model: Callable[..., Any], values: dict[str, Tensor], args: Any, kwargs: Any) -> int:
    """Return how many draws of a model fit into a bounded part of the memory together."""
    trace = trace_at(model, values, args, kwargs)
    elements = 0
    for site in samples(trace).values():
        shape = torch.broadcast_shapes(site["fn"].batch_shape + site["fn"].event_shape, site["value"].shape)
        elements += math.prod(shape)
    return max(1, MOST_ELEMENTS // max(elements, 1))


def starting_gaussian(
    model: Callable[..., Any],
    latents: Latents,
    start: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    dense: bool,
) -> Gaussian:
    """Return location and scale of a Gaussian near the posterior of a model.

    That is the end of a path of Newton steps if the posterior is nearly Gaussian there, and else the best
    Gaussian that some hundred steps of Adam find from several starts. A model that draws hidden sites anew in
    each run has no density to climb: it gets `start` itself, with scales of 0.1.

    Args:
        model: the model.
        latents: its latent sites.
        start: an unconstrained vector, of shape (d,).
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        dense: whether the scale is a triangular matrix, and not only its diagonal.
    """
    if _draws_hidden_sites(model, latents, start, args, kwargs):
        scales = torch.full_like(start, PLAIN_SCALE)
        return start, torch.diag(scales) if dense else scales
    density = LogDensity(model, latents, args, kwargs)
    together = draws_together(model, latents.constrain(start)[0], args, kwargs)
    start = _inside(density.seeded, start, together)
    path = newton_path(density.seeded, start, together=together) if dense else []
    noise = torch.randn(_count(200, together), len(start), dtype=start.dtype, device=start.device)
    if path and float(log_weights(density.seeded, *path[-1], noise, together).var() / 2) < NEAR:
        return path[-1][0], lower_triangular(path[-1][1])
    starts = simple_gaussians(density.seeded, path, start, noise, dense=dense, together=together)
    return best_gaussian(density, starts, together=together)


@torch.no_grad()
def _inside(log_density: Density, start: Tensor, together: int) -> Tensor:
    """Return `start`, or the best of some random points if the density is not finite there."""
    spread = torch.linspace(0, 5, TRIALS, dtype=start.dtype, device=start.device)[:, None]
    trials = start + spread * torch.randn(TRIALS, len(start), dtype=start.dtype, device=start.device)
    if bool(log_density(trials[:1]).isfinite()):
        return start
    scores = torch.cat([log_density(part) for part in trials.split(together)])
    scores = scores.nan_to_num(-math.inf, -math.inf, -math.inf)
    return trials[scores.argmax()]


def _count(wanted: int, together: int) -> int:
    """Return a number of draws, less than wanted if they take much memory."""
    return max(FEWEST_DRAWS, min(wanted, together))


def _draws_hidden_sites(
    model: Callable[..., Any], latents: Latents, start: Tensor, args: Any, kwargs: Any
) -> bool:
    """Whether the density differs from run to run, other than by a subsample of the data."""
    values = latents.constrain(start)[0]
    found = []
    for seed in range(SEEDS):
        with fixed_seed(start.device, seed):
            found.append(float(log_joint(model, values, args, kwargs)))
    finite = [score for score in found if math.isfinite(score)]
    if all(math.isclose(score, finite[0], rel_tol=1e-5, abs_tol=1e-4) for score in finite):
        return False
    frames = [
        f
        for site in trace_at(model, values, args, kwargs).nodes.values()
        for f in site.get("cond_indep_stack", ())
    ]
    return all(frame.full_size in (None, frame.size) for frame in frames)


def simple_gaussians(
    log_density: Density, path: list[Gaussian], start: Tensor, noise: Tensor, *, dense: bool, together: int
) -> list[Gaussian]:
    """Return the best simple Gaussian in each third of the way up to the posterior.

    The candidates are those along a Newton path and isotropic ones around its ends. The path may lead far
    into the neck of a funnel: hence one of each third, to be fitted a little before one of them is chosen.

    Args:
        log_density: of rows of unconstrained vectors.
        path: what `newton_path` returned; if it is empty, there are only isotropic Gaussians around `start`.
        start: where the path begins, of shape (d,).
        noise: of shape (n, d), from which bounds are estimated.
        dense: whether scales are triangular matrices, and not only their diagonals.
        together: how many vectors are evaluated at once.
    """
    third = -(-len(path) // 3)
    parts = [path[i : i + third] for i in range(0, len(path), third)] if path else [[]]
    parts[0] = parts[0] + _isotropic(start, dense)
    if path:
        parts[-1] = parts[-1] + _isotropic(path[-1][0], dense)

    def goodness(candidate: Gaussian) -> float:
        return mean_weight(log_weights(log_density, *candidate, noise, together))

    found = [max(part, key=goodness) for part in parts]
    return [(loc, lower_triangular(root)) for loc, root in found] if dense else found


def _isotropic(loc: Tensor, dense: bool) -> list[Gaussian]:
    scales = [torch.full_like(loc, scale) for scale in (0.03, 0.1, 0.3, 1.0)]
    return [(loc, torch.diag(scale) if dense else scale) for scale in scales]


def best_gaussian(log_density: Density, starts: list[Gaussian], *, together: int) -> Gaussian:
    """Return the best Gaussian: each start is fitted for a few steps, and the best of them for many.

    Args:
        log_density: of rows of unconstrained vectors.
        starts: where to begin.
        together: how many vectors are evaluated at once.
    """
    loc = starts[0][0]
    batch = _count(BATCH, together)
    noise = torch.randn(8 * batch, len(loc), dtype=loc.dtype, device=loc.device)
    if len(starts) > 1:
        starts = [fit_gaussian(log_density, *start, steps=STEPS // 5, batch=batch) for start in starts]

    def goodness(candidate: Gaussian) -> float:
        return mean_weight(log_weights(log_density, *candidate, noise, together))

    return fit_gaussian(log_density, *max(starts, key=goodness), steps=STEPS, batch=batch)
