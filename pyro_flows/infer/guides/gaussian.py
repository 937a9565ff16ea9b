"""The Gaussian nearest to a posterior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...loop.clipped_step import ClippedStep, adam
from ...loop.schedule import falling

__all__ = ["bound", "fit_gaussian", "log_weights", "lower_triangular"]

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
    scores = torch.cat([log_density(part) for part in u.split(together)])
    log_det = torch.linalg.slogdet(scale)[1] if dense else scale.log().sum()
    log_q = -0.5 * noise.square().sum(-1) - log_det - 0.5 * len(loc) * math.log(2 * math.pi)
    return scores - log_q


def bound(weights: Tensor) -> float:
    """Return the mean of log weights, −∞ if it is not finite."""
    value = float(weights.mean())
    return value if math.isfinite(value) else -math.inf


def lower_triangular(root: Tensor) -> Tensor:
    """Return the lower triangular L with positive diagonal and L Lᵀ = R Rᵀ."""
    lower = torch.linalg.qr(root.mT)[1].mT
    return lower * torch.where(lower.diagonal() < 0, -1.0, 1.0).to(lower)


def mean(values: list[Tensor]) -> float:
    """Return the mean of numbers on the device, which waits for it."""
    return float(torch.stack(values).double().mean())


def fit_gaussian(
    log_density: Density, loc: Tensor, scale: Tensor, *, steps: int, batch: int = 128, rate: float = 0.03
) -> tuple[Tensor, Tensor]:
    """Return location and triangular scale (or its diagonal) of the best Gaussian, by path gradients.

    With y = μ + L (m + A z), the gradient of log q at y with q held fixed is −(L A)⁻ᵀ z: no density of the
    Gaussian need be evaluated (Roeder, Wu & Duvenaud 2017, arXiv:1703.09194). Stops when the log-weights
    hardly vary, or the bound no longer rises.

    Args:
        log_density: of rows of unconstrained vectors.
        loc: start, of shape (d,).
        scale: start, of shape (d, d), or its diagonal, (d,).
        steps: at most so many of Adam, on a cosine.
        batch: draws a step.
        rate: the learning rate, in the start's own scales.
    """
    dense, size = scale.dim() == 2, len(loc)
    shift = torch.zeros_like(loc).requires_grad_()
    log_diagonal = torch.zeros_like(loc).requires_grad_()
    lower = torch.zeros_like(scale).requires_grad_()
    parameters = [shift, log_diagonal, lower] if dense else [shift, log_diagonal]
    step = ClippedStep(adam(parameters, rate=rate), clip=10.0)

    def matrix() -> Tensor:
        return torch.diag_embed(log_diagonal.exp()) + lower.tril(-1) if dense else log_diagonal.exp()

    half_variances: list[Tensor] = []  # since they were last looked at, as the bounds
    bounds: list[Tensor] = []
    best = -math.inf
    for i in range(steps):
        z = torch.randn(batch, size, dtype=loc.dtype, device=loc.device)
        with torch.enable_grad():
            root = matrix()
            w = shift + (z @ root.mT if dense else z * root)
            # −∇ log q in the start's scales
            fixed = root.detach()
            solve = torch.linalg.solve_triangular
            score = solve(fixed, z, upper=False, left=False) if dense else z / fixed
            scores = log_density(loc + (w @ scale.mT if dense else w * scale))
            loss = -(scores + (w * score).sum(-1)).mean()
        scores = scores.detach()
        half_variances.append((scores + 0.5 * z.square().sum(-1)).var() / 2)
        if len(half_variances) == CHECK_EVERY or i == 0:
            if mean(half_variances) <= TOLERANCE:
                break
            half_variances = []
        bounds.append(scores.mean() + log_diagonal.detach().sum())
        if len(bounds) == WINDOW:
            bound, bounds = mean(bounds), []
            if bound < best + PROGRESS:
                break
            best = bound
        step.optimizer.zero_grad()
        loss.backward()
        step(falling(i / steps, 0.02))
    with torch.no_grad():
        if dense:
            return loc + scale @ shift, scale @ matrix()
        return loc + scale * shift, scale * matrix()
