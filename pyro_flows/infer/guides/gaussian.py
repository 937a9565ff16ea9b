"""The Gaussian nearest to a posterior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...flow import Flow
from ...loop.clipped_step import ClippedStep, adam
from ...loop.schedule import falling
from ..model.batches import even_parts
from .bound import Bound
from .whitening import Whitening

__all__ = ["fit_gaussian", "log_weights", "lower_triangular", "mean_weight"]

Density = Callable[[Tensor], Tensor]

CHECK_EVERY = 20  # steps
TOLERANCE = 1e-4  # nats of half the log-weights' variance
WINDOW, PROGRESS = 100, 0.02  # steps, and the nats by which a window's mean bound must beat the one before


@torch.no_grad()
def log_weights(log_density: Density, loc: Tensor, scale: Tensor, noise: Tensor, together: int) -> Tensor:
    """Return log p(u) − log q(u) at u = loc + scale · noise, of shape (n,).

    Args:
        log_density: log p, of rows of unconstrained vectors.
        loc: the Gaussian's location, of shape (d,).
        scale: any square root of its covariance, of shape (d, d), or its diagonal, (d,).
        noise: of shape (n, d).
        together: how many vectors are evaluated at once.
    """
    dense = scale.dim() == 2
    u = loc + (noise @ scale.mT if dense else noise * scale)
    scores = torch.cat([log_density(part) for part in even_parts(u, together)])
    log_det = torch.linalg.slogdet(scale)[1] if dense else scale.log().sum()
    log_q = -0.5 * noise.square().sum(-1) - log_det - 0.5 * len(loc) * math.log(2 * math.pi)
    return scores - log_q


def mean_weight(weights: Tensor) -> float:
    """Return the mean of log weights, −∞ if it is not finite."""
    value = float(weights.mean())
    return value if math.isfinite(value) else -math.inf


def lower_triangular(root: Tensor) -> Tensor:
    """Return the lower triangular L with positive diagonal and L Lᵀ = R Rᵀ."""
    lower = torch.linalg.qr(root.mT)[1].mT
    return lower * torch.where(lower.diagonal() < 0, -1.0, 1.0).to(lower)


def fit_gaussian(
    log_density: Density,
    loc: Tensor,
    scale: Tensor,
    *,
    steps: int,
    batch: int = 128,
    rate: float = 0.03,
    narrowed: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return location and triangular scale (or its diagonal) of the best Gaussian, by path gradients.

    Stops when the log-weights hardly vary, or the bound no longer rises.

    Args:
        log_density: of rows of unconstrained vectors.
        loc: start, of shape (d,).
        scale: start, of shape (d, d), or its diagonal, (d,).
        steps: at most so many of Adam, on a cosine.
        batch: draws a step.
        rate: the learning rate, in the start's own scales.
        narrowed: what the start's scales are multiplied by, without the learning rate.
    """
    gaussian = Whitening(len(loc), dense=scale.dim() == 2)
    flow = Flow(gaussian).to(loc.device, loc.dtype)
    gaussian.place(loc, scale)
    with torch.no_grad():
        gaussian.log_diagonal.fill_(math.log(narrowed))
    objective = Bound(log_density, gaussian, flow.base())
    step = ClippedStep(adam(gaussian.parameters(), rate=rate), clip=10.0)
    half_variances: list[Tensor] = []  # since they were last looked at, as the bounds
    bounds: list[Tensor] = []
    best = -math.inf
    for i in range(steps):
        step.optimizer.zero_grad()
        weights = objective.backward(batch)
        half_variances.append(weights.var() / 2)
        if len(half_variances) == CHECK_EVERY or i == 0:
            if _mean(half_variances) <= TOLERANCE:
                break
            half_variances = []
        bounds.append(weights.mean())
        if len(bounds) == WINDOW:
            last, bounds = _mean(bounds), []
            if last < best + PROGRESS:
                break
            best = last
        step(falling(i / steps, 0.02))
    with torch.no_grad():
        return gaussian.location_and_scale()


def _mean(values: list[Tensor]) -> float:
    """Return the mean of numbers on the device, which waits for it."""
    return float(torch.stack(values).double().mean())
