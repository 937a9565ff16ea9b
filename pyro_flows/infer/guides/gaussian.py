"""A Gaussian near the posterior: where a flow starts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...loop.clipped_step import ClippedStep, adam
from ...loop.schedule import falling

__all__ = ["best_gaussian", "fit_gaussian", "newton_path", "simple_gaussians"]

Density = Callable[[Tensor], Tensor]

STEPS = 500
TRIAL_DRAWS = 1000
CHECK_EVERY = 20  # steps
TOLERANCE = 1e-4  # nats of half the log-weights' variance
WINDOW, PROGRESS = 100, 0.02  # steps, and the nats by which a window's mean bound must beat the one before


def hessian(log_density: Density, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (), gradient (d,) and Hessian (d, d) at u, by one pass over d copies of u."""
    with torch.enable_grad():
        rows = u.detach().expand(len(u), -1).clone().requires_grad_()
        values = log_density(rows)
        (gradient,) = torch.autograd.grad(values.sum(), rows, create_graph=True)
        if gradient.requires_grad:
            (matrix,) = torch.autograd.grad(gradient.diagonal().sum(), rows, allow_unused=True)
        else:
            matrix = None  # linear in u
    matrix = torch.zeros_like(rows) if matrix is None else matrix
    return values[0].detach(), gradient[0].detach(), (matrix + matrix.mT).detach() / 2


def newton_path(log_density: Density, start: Tensor, steps: int = 30) -> list[tuple[Tensor, Tensor]]:
    """Climb from `start` by damped Newton steps with absolute curvatures, and return Gaussians on the way.

    Each step tries many dampings and lengths at once, under one plate, and takes the best; absolute
    eigenvalues make it climb out of saddles and plateaus (Dauphin et al. 2014, arXiv:1406.2572).

    Returns:
        Location (d,) and square root (d, d) of the covariance |H|⁻¹ at each point.
    """
    found: list[tuple[Tensor, Tensor]] = []
    u = start
    dampings = torch.logspace(-6, 2, 9, dtype=u.dtype, device=u.device)
    lengths = u.new_tensor([1.0, 0.25])
    for _ in range(steps):
        value, gradient, matrix = hessian(log_density, u)
        if not bool(gradient.isfinite().all() & matrix.isfinite().all()):
            break
        curvature, axes = torch.linalg.eigh(matrix)
        curvature = curvature.abs()
        largest = curvature.max().clamp(min=1e-12)
        found.append((u, axes / curvature.clamp(min=1e-8 * largest).sqrt()))
        damped = curvature + dampings[:, None] * largest
        directions = (axes.mT @ gradient / damped) @ axes.mT
        trials = u + (lengths[:, None, None] * directions).flatten(0, 1)
        with torch.no_grad():
            scores = log_density(trials).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        best = scores.argmax()
        if not bool(scores[best] > value + 1e-3):
            break
        u = trials[best]
    return found


def elbo(log_density: Density, loc: Tensor, root: Tensor, noise: Tensor) -> float:
    """Return the Gaussian's evidence lower bound over the given noise, −∞ where it is not finite."""
    dense = root.dim() == 2
    with torch.no_grad():
        scores = log_density(loc + (noise @ root.mT if dense else noise * root))
    log_det = torch.linalg.slogdet(root)[1] if dense else root.log().sum()
    entropy = log_det + 0.5 * len(loc) * (1 + math.log(2 * math.pi))
    value = float(scores.mean() + entropy)
    return value if math.isfinite(value) else -math.inf


def simple_gaussians(
    log_density: Density, start: Tensor, *, dense: bool, draws: int = 200
) -> list[tuple[Tensor, Tensor]]:
    """Return location and scale of the best simple Gaussian in each third of the way up from `start`.

    Those are the ones along a Newton path and isotropic ones around its ends. The path may lead far into
    the neck of a funnel: hence one of each third, to be fitted a little before one of them is chosen.

    Args:
        log_density: of rows of unconstrained vectors.
        start: where the path begins, of shape (d,).
        dense: whether to use Hessians; only isotropic Gaussians around `start` otherwise.
        draws: how many draws the bounds are estimated from.
    """
    flat = torch.ones_like(start)

    def isotropic(loc: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(loc, torch.diag(flat * s) if dense else flat * s) for s in (0.03, 0.1, 0.3, 1.0)]

    path = newton_path(log_density, start) if dense else []
    third = -(-len(path) // 3)
    parts = [path[i : i + third] for i in range(0, len(path), third)] if path else [[]]
    parts[0] = parts[0] + isotropic(start)
    if path:
        parts[-1] = parts[-1] + isotropic(path[-1][0])
    noise = torch.randn(draws, len(start), dtype=start.dtype, device=start.device)
    found = [max(part, key=lambda c: elbo(log_density, c[0], c[1], noise)) for part in parts]
    return [(loc, lower_triangular(root)) for loc, root in found] if dense else found


def best_gaussian(log_density: Density, starts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the best Gaussian: each start is fitted for a few steps, and the best of them for many."""
    loc = starts[0][0]
    noise = torch.randn(TRIAL_DRAWS, len(loc), dtype=loc.dtype, device=loc.device)
    if len(starts) > 1:
        starts = [fit_gaussian(log_density, *start, steps=STEPS // 5) for start in starts]
    best = max(starts, key=lambda start: elbo(log_density, start[0], start[1], noise))
    return fit_gaussian(log_density, *best, steps=STEPS)


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
    Gaussian need be evaluated (Roeder, Wu & Duvenaud 2017, arXiv:1703.09194). Stops where the log-weights
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
