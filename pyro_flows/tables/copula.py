"""The Gaussian copula from which the flow of a table starts."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ..matrices import Triangular
from ..transforms import Linear
from .cells import Cells

__all__ = ["gaussian_copula", "start_at_correlations"]

ROWS = 20_000  # from which correlations are found
DRAWS = 4  # of the scores within the cells
LEAST = 1e-3  # shrinkage, so that columns which determine one another leave a matrix of full rank


def gaussian_copula(size: int) -> Linear:
    r"""Return y = L x for normal scores y, with a lower triangular matrix L that is learned.

    With nothing else between noise and scores, the columns have the correlations L Lᵀ: a Gaussian copula.
    """
    return Linear(Triangular(size), bias=False)


@torch.no_grad()
def start_at_correlations(
    copula: Linear, rows: Tensor, context: Tensor | None = None, weights: Tensor | None = None
) -> None:
    """Set L Lᵀ to the correlations of rows, shrunk towards the identity as their number asks for.

    Schäfer & Strimmer, "A Shrinkage Approach to Large-Scale Covariance Matrix Estimation", 2005.

    Args:
        copula: what `gaussian_copula` returned.
        rows: as `Schema.encode` gives them, of shape (rows, 3, size).
        context: features of shape (rows, features), whose linear effect on the scores is taken off first.
        weights: how often each row counts.
    """
    size = rows.shape[-1]
    weights = rows.new_ones(len(rows)) if weights is None else weights
    if len(rows) > ROWS:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:ROWS]
        rows, weights = rows[chosen], weights[chosen]
        context = None if context is None else context[chosen]
    weights = weights / weights.sum()
    correlations = rows.new_zeros(size, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(DRAWS):
            z, _ = Cells(size).inverse_and_log_det(rows)
            correlations += _correlations(_without_effect(z, context), weights) / DRAWS
    lower = torch.linalg.cholesky(_shrunk(correlations, 1 / float(weights.square().sum())))
    raw = lower.tril(-1) + lower.diagonal().log().diag_embed()
    places = torch.tril_indices(size, size)
    cast(Triangular, copula.matrix).packed.copy_(raw[places[0], places[1]])


def _without_effect(z: Tensor, context: Tensor | None) -> Tensor:
    """Return the residuals of a linear regression of scores on the context."""
    if context is None:
        return z
    features = torch.cat((context.to(z), z.new_ones(len(z), 1)), -1)
    return z - features @ torch.linalg.lstsq(features, z, driver="gelsd").solution


def _correlations(z: Tensor, weights: Tensor) -> Tensor:
    z = z - weights @ z
    z = z / (weights @ z.square()).sqrt().clamp(min=1e-9)
    return (weights[:, None] * z).T @ z


def _shrunk(correlations: Tensor, rows: float) -> Tensor:
    """Return (1 − λ) R + λ I with λ = Σ Var r_ij / Σ r_ij² over i ≠ j, and Var r ≈ (1 − r²)² / (n − 1)."""
    identity = torch.eye(len(correlations), dtype=correlations.dtype)
    squares = (correlations * (1 - identity)).square()
    noise = ((1 - squares).square() * (1 - identity)).sum() / max(1.0, rows - 1)
    amount = float((noise / squares.sum().clamp(min=1e-12)).clamp(LEAST, 1.0))
    return (1 - amount) * correlations * (1 - identity) + identity
