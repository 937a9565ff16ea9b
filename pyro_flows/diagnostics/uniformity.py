"""Tests of ranks: are they uniform, are they symmetric?"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["ecdf_band", "symmetry_p_value", "uniformity_p_value"]

_NULL_SETS = 4000
_MAX_POINTS = 100


def uniformity_p_value(ranks: Tensor, draws: int) -> float:
    """Return the p-value of a test that ranks are uniform on 0 … draws, by their distribution function.

    At each point the number of ranks below it is binomial. The statistic is the smallest two-sided
    probability of these numbers over all points, and its distribution is simulated. Bias and wrong widths
    both lower it.

    Säilynoja, Bürkner & Vehtari, "Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison", 2022, arXiv:2103.10522.

    Args:
        ranks: integers of shape (n,).
        draws: the greatest rank.

    Raises:
        ValueError: if ranks are not of shape (n,), or outside 0 … draws.
    """
    ranks = _checked(ranks, draws)
    null = _null(len(ranks), draws)
    statistic = _statistic(ranks[None], draws)
    return float(((null <= statistic + 1e-12).sum() + 1) / (len(null) + 1))


def ecdf_band(n: int, draws: int, level: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
    """Return points z in (0, 1), and lower and upper bounds of F(z) − z that hold at all points at once.

    F is the empirical distribution function of n uniform ranks, divided by draws + 1.

    Args:
        n: how many ranks.
        draws: the greatest rank.
        level: the probability that F(z) − z of uniform ranks stays within the bounds everywhere.
    """
    edge = _null(n, draws).quantile(1 - level)
    below, above = _tails(n, draws)
    z = _points(draws).double() / (draws + 1)
    inside = 2 * torch.minimum(below, above) > edge
    counts = torch.arange(n + 1, dtype=torch.double)
    low = torch.where(inside, counts, torch.inf).min(1).values / n
    high = torch.where(inside, counts, -torch.inf).max(1).values / n
    return z, low - z, high - z


def symmetry_p_value(ranks: Tensor, draws: int) -> float:
    """Return the p-value of a test that ranks are symmetric about the middle.

    An asymmetric histogram says that posteriors are biased. The statistic is the greatest difference between
    the distribution functions of the ranks and of their reflections; its null distribution comes from
    reflecting each rank or not, at random.

    Yao, Vehtari, Simpson & Gelman, "Yes, but Did It Work?: Evaluating Variational Inference", 2018,
    arXiv:1802.02538, section 3.

    Args:
        ranks: integers of shape (n,).
        draws: the greatest rank.

    Raises:
        ValueError: if ranks are not of shape (n,), or outside 0 … draws.
    """
    ranks = _checked(ranks, draws)
    generator = torch.Generator().manual_seed(0)
    flips = torch.rand((_NULL_SETS, len(ranks)), generator=generator) < 0.5
    sets = torch.where(flips, draws - ranks, ranks)

    def distance(sets: Tensor) -> Tensor:
        counts = _counts(sets, draws)
        below, mirrored = counts.cumsum(1), counts.flip(1).cumsum(1)
        return (below - mirrored).abs().max(1).values

    null, statistic = distance(sets), distance(ranks[None])
    return float(((null >= statistic).sum() + 1) / (len(null) + 1))


def _checked(ranks: Tensor, draws: int) -> Tensor:
    if ranks.dim() != 1 or len(ranks) == 0:
        raise ValueError(f"expected ranks of shape (n,), n ≥ 1; got shape {tuple(ranks.shape)}")
    low, high = int(ranks.min()), int(ranks.max())
    if low < 0 or high > draws:
        raise ValueError(f"expected ranks in 0 … {draws}; got {low} … {high}")
    return ranks.cpu().long()


def _counts(ranks: Tensor, draws: int) -> Tensor:
    """Return how often each rank comes, of shape (sets, draws + 1)."""
    counts = torch.zeros(len(ranks), draws + 1, dtype=torch.long)
    return counts.scatter_add_(1, ranks, torch.ones_like(ranks, dtype=torch.long))


def _points(draws: int) -> Tensor:
    """Return the ranks at which the distribution function is looked at."""
    return torch.linspace(1, draws, min(draws, _MAX_POINTS)).round().long()


@lru_cache(maxsize=32)
def _tails(n: int, draws: int) -> tuple[Tensor, Tensor]:
    """Return P(B ≤ c) and P(B ≥ c) for c = 0 … n, B the count below each point: (points, n + 1)."""
    p = _points(draws).double()[:, None] / (draws + 1)
    c = torch.arange(n + 1, dtype=torch.double)
    whole = torch.tensor(n, dtype=torch.double)
    choose = torch.lgamma(whole + 1) - torch.lgamma(c + 1) - torch.lgamma(whole - c + 1)
    mass = (choose + c * p.log() + (whole - c) * torch.log1p(-p)).exp()
    return mass.cumsum(1), mass.flip(1).cumsum(1).flip(1)


def _statistic(sets: Tensor, draws: int) -> Tensor:
    below = _counts(sets, draws).cumsum(1)[:, _points(draws) - 1]
    low, high = _tails(sets.shape[1], draws)
    rows = torch.arange(below.shape[1])
    return (2 * torch.minimum(low[rows, below], high[rows, below])).min(1).values


@lru_cache(maxsize=32)
def _null(n: int, draws: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return _statistic(torch.randint(0, draws + 1, (_NULL_SETS, n), generator=generator), draws)
