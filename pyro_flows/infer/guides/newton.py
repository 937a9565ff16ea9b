"""A path of Newton steps up a log-density, and the Gaussians along it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["hessian", "newton_path"]

Density = Callable[[Tensor], Tensor]


def hessian(log_density: Density, u: Tensor, together: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (), gradient (d,) and Hessian (d, d) at u.

    The density is evaluated at d copies of u, each of which gives one row of the Hessian.

    Args:
        log_density: of rows of vectors, (n, d) → (n,).
        u: of shape (d,).
        together: how many copies are evaluated at once.
    """
    rows = []
    with torch.enable_grad():
        for part in torch.arange(len(u), device=u.device).split(together):
            copies = u.detach().expand(len(part), -1).clone().requires_grad_()
            values = log_density(copies)
            (gradient,) = torch.autograd.grad(values.sum(), copies, create_graph=True)
            if not gradient.requires_grad:  # linear in u
                rows.append(torch.zeros_like(copies))
                continue
            chosen = gradient.gather(1, part[:, None]).sum()
            found = torch.autograd.grad(chosen, copies, allow_unused=True)[0]
            rows.append(torch.zeros_like(copies) if found is None else found)
    matrix = torch.cat(rows)
    return values[0].detach(), gradient[0].detach(), (matrix + matrix.mT).detach() / 2


def newton_path(
    log_density: Density, start: Tensor, *, steps: int = 30, together: int = 1000
) -> list[tuple[Tensor, Tensor]]:
    """Climb from `start` by damped Newton steps with absolute curvatures; return Gaussians on the way.

    Each step tries many dampings and lengths and takes the best; absolute eigenvalues make it climb out of
    saddles and plateaus (Dauphin et al. 2014, arXiv:1406.2572).

    Args:
        log_density: of rows of vectors.
        start: of shape (d,).
        steps: how many steps at most.
        together: how many vectors are evaluated at once.

    Returns:
        Location (d,) and square root (d, d) of the covariance |H|⁻¹ at each point.
    """
    found: list[tuple[Tensor, Tensor]] = []
    u = start
    dampings = torch.logspace(-6, 2, 9, dtype=u.dtype, device=u.device)
    lengths = u.new_tensor([1.0, 0.25])
    for _ in range(steps):
        value, gradient, matrix = hessian(log_density, u, together)
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
            scores = torch.cat([log_density(part) for part in trials.split(together)])
        scores = scores.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        best = scores.argmax()
        if not bool(scores[best] > value + 1e-3):
            break
        u = trials[best]
    return found
