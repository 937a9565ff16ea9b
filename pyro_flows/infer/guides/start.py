"""The Gaussian that a flow starts from, near the posterior and found in a small part of the time of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..model.density import LogDensity
from ..model.latents import Latents
from .gaussian import fit_gaussian, log_weights, lower_triangular, mean_weight
from .newton import newton_path

__all__ = ["best_gaussian", "simple_gaussians", "starting_gaussian"]

Density = Callable[[Tensor], Tensor]
Gaussian = tuple[Tensor, Tensor]  # location and triangular scale, or its diagonal

STEPS = 500
MANY = 333  # dimensions, above which the last fit takes steps in proportion to them
BATCH, FEWEST_DRAWS = 128, 16  # draws a step; fewer if they take more than a quarter of the memory at hand
# Nats of half the log-weights' variance, below which a Newton step's Gaussian will do, for all or one mode.
NEAR, NEAR_MODE = 0.05, 3.0
PLAIN_SCALE = 0.1  # as Pyro's guides have it
FAR = 1000.0  # nats, by which a start is so much worse than a point nearer to zero that it is left
HALVINGS = 11  # of a start that is far off
FEW = 16  # dimensions, in which a Newton path does not miss the posterior for the neck of a funnel
MOST_PASSES = 200  # through the model for one Hessian, which takes d runs of it
TRIALS = 100  # points around a start at which the density is not finite


def starting_gaussian(
    model: Callable[..., Any],
    latents: Latents,
    start: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    dense: bool,
    local: bool = False,
) -> Gaussian:
    """Return location and scale of a Gaussian near the posterior of a model.

    That is the end of a path of Newton steps if the posterior is nearly Gaussian there, and else the best
    Gaussian that some hundred steps of Adam find from several starts: Gaussians on the path, and the best
    one of independent coordinates. A model that draws hidden sites anew in each run has no density to climb:
    it gets `start` itself, with scales of 0.1.

    Args:
        model: the model.
        latents: its latent sites.
        start: an unconstrained vector, of shape (d,).
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        dense: whether the scale is a triangular matrix, and not only its diagonal.
        local: whether the mode at the end of the path is wanted, even if a Gaussian of several is better.
    """
    spread = torch.linspace(0, 5, TRIALS, dtype=start.dtype, device=start.device)[:, None]
    trials = start + spread * torch.randn(TRIALS, len(start), dtype=start.dtype, device=start.device)
    density = LogDensity(model, latents, args, kwargs)
    density.prepare(trials)
    if density.redrawn:
        scales = torch.full_like(start, PLAIN_SCALE)
        return start, torch.diag(scales) if dense else scales
    together = density.runs.together
    start = _nearer_zero(density.seeded, _inside(density.seeded, trials, together), together)
    newton = dense and len(start) <= MOST_PASSES * together
    path = newton_path(density.seeded, start, together=together) if newton else []
    noise = torch.randn(_count(200, together), len(start), dtype=start.dtype, device=start.device)
    near = NEAR_MODE if local else NEAR
    if path and float(log_weights(density.seeded, *path[-1], noise, together).var() / 2) < near:
        return path[-1][0], lower_triangular(path[-1][1])
    starts = simple_gaussians(density.seeded, path, start, noise, dense=dense, together=together)
    if len(start) > FEW:
        loc, scale = independent_gaussian(density.seeded, start, together=together)
        starts.append((loc, torch.diag(scale) if dense else scale))
    return best_gaussian(density, starts, together=together)


@torch.no_grad()
def _inside(log_density: Density, trials: Tensor, together: int) -> Tensor:
    """Return the first point if the density is finite there, and else the one of the highest density."""
    parts = trials.split(max(2, together))  # not one alone: a model may raise there
    if bool(log_density(parts[0])[0].isfinite()):
        return trials[0]
    scores = torch.cat([log_density(part) for part in parts])
    return trials[scores.nan_to_num(-math.inf, -math.inf, -math.inf).argmax()]


@torch.no_grad()
def _nearer_zero(log_density: Density, start: Tensor, together: int) -> Tensor:
    """Return the start, or a point between it and zero if the density is far higher there.

    A value of a vague prior, such as Gamma(0.01, 0.01), may lie anywhere, and those that depend on it too.
    """
    halvings = torch.arange(HALVINGS, dtype=start.dtype, device=start.device)
    points = torch.cat([0.5**halvings, start.new_zeros(1)])[:, None] * start
    parts = points.tensor_split(-(-len(points) // max(2, together)))  # none alone: a model may raise there
    scores = torch.cat([log_density(part) for part in parts]).nan_to_num(-math.inf, -math.inf, -math.inf)
    best = scores.argmax()
    return points[best] if bool(scores[best] > scores[0] + FAR) else start


def _count(wanted: int, together: int) -> int:
    """Return a number of draws, less than wanted if they take much memory."""
    return max(FEWEST_DRAWS, min(wanted, together))


def _batch(together: int) -> int:
    """Return the draws of a step: path gradients near the optimum need few, and a large model's are dear."""
    return _count(BATCH, together // 4)


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


def independent_gaussian(log_density: Density, start: Tensor, *, together: int) -> Gaussian:
    """Return location and scales of the best Gaussian of independent coordinates.

    Its bound keeps it out of the neck of a funnel, where the density of many latent variables is highest and
    to which Newton steps lead.
    """
    batch = _batch(together)
    wide = torch.ones_like(start)
    return fit_gaussian(log_density, start, wide, steps=STEPS, batch=batch, rate=0.1, narrowed=PLAIN_SCALE)


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
    batch = _batch(together)
    noise = torch.randn(8 * batch, len(loc), dtype=loc.dtype, device=loc.device)
    if len(starts) > 1:
        starts = [fit_gaussian(log_density, *start, steps=STEPS // 5, batch=batch) for start in starts]

    def goodness(candidate: Gaussian) -> float:
        return mean_weight(log_weights(log_density, *candidate, noise, together))

    steps = round(STEPS * max(1.0, len(loc) / MANY))
    return fit_gaussian(log_density, *max(starts, key=goodness), steps=steps, batch=batch)
