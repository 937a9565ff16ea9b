"""Whether Markov chains have mixed: rank-normalised split R̂, and effective sample sizes of bulk and tails."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor

__all__ = ["MOST_R_HAT", "bulk_ess", "r_hat", "tail_ess"]

MOST_R_HAT = 1.01  # of chains that have mixed, by Vehtari et al. 2021

_ELEMENTS = 2**22  # numbers that are looked at together
_TAILS = (0.05, 0.95)


def r_hat(draws: Tensor) -> Tensor:
    """Return the larger of R̂ of location and R̂ of spread, from split chains and normal scores of ranks.

    Vehtari, Gelman, Simpson, Carpenter & Bürkner, "Rank-normalization, folding, and localization: An improved
    R̂ for assessing convergence of MCMC", 2021, arXiv:1903.08008.

    Args:
        draws: of shape (chains, draws, *event), at least four draws a chain.

    Returns:
        R̂ of each element, of shape `event`; NaN if it is the same in all draws.
    """

    def both(x: Tensor) -> Tensor:
        folded = (x - x.flatten(0, 1).median(0).values).abs()
        return torch.maximum(split_gelman_rubin(_scores(x)), split_gelman_rubin(_scores(folded)))

    return _by_columns(both, draws)


def bulk_ess(draws: Tensor) -> Tensor:
    """Return the effective sample size of each element's normal scores; Vehtari et al. 2021 as in `r_hat`.

    Args:
        draws: of shape (chains, draws, *event), at least four draws a chain.
    """
    return _by_columns(lambda x: _ess(_scores(x)), draws)


def tail_ess(draws: Tensor) -> Tensor:
    """Return the smaller effective sample size of the 5 % and 95 % quantiles of each element.

    Args:
        draws: of shape (chains, draws, *event), at least four draws a chain.
    """

    def both(x: Tensor) -> Tensor:
        quantiles = x.flatten(0, 1).sort(0).values
        cuts = [quantiles[round(level * (len(quantiles) - 1))] for level in _TAILS]
        low, high = (_ess((x <= cut).double()) for cut in cuts)
        return torch.minimum(low, high)

    return _by_columns(both, draws)


def _by_columns(statistic: Callable[[Tensor], Tensor], draws: Tensor) -> Tensor:
    """Return a statistic of each element, of draws as (chains, draws, columns)."""
    if draws.dim() < 2 or draws.shape[1] < 4:
        raise ValueError(
            f"expected draws of shape (chains, draws, *event) with ≥ 4 draws; got {tuple(draws.shape)}"
        )
    columns = draws.detach().double().flatten(2) if draws.dim() > 2 else draws.detach().double()[..., None]
    size = max(1, _ELEMENTS // columns.shape[:2].numel())
    if columns.shape[-1] == 0:
        return columns.new_empty(draws.shape[2:])
    return torch.cat([statistic(part) for part in columns.split(size, -1)]).reshape(draws.shape[2:])


def _scores(x: Tensor) -> Tensor:
    """Return Φ⁻¹((r − 3/8) / (S + 1/4)) of the ranks r among all S draws; equal draws share a rank."""
    flat = x.flatten(0, 1).T.contiguous()
    ordered = flat.sort(-1).values
    ranks = (torch.searchsorted(ordered, flat) + torch.searchsorted(ordered, flat, right=True) + 1) / 2
    levels = (ranks - 0.375) / (flat.shape[-1] + 0.25)
    return math.sqrt(2) * torch.erfinv(2 * levels.double() - 1).T.reshape(x.shape)


def _ess(x: Tensor) -> Tensor:
    """Return the effective sample size of split chains by Geyer's monotone sequence; NaN of a constant.

    Pyro's own divides covariances by the number of pairs, which at long lags counts noise as correlation.
    """
    half = x.shape[1] // 2
    split = torch.cat([x[:, :half], x[:, -half:]])
    chains, draws = split.shape[:2]
    spectrum = torch.fft.rfft(split - split.mean(1, keepdim=True), n=2 * draws, dim=1)
    covariance = torch.fft.irfft(spectrum.abs().square(), n=2 * draws, dim=1)[:, :draws].mean(0) / draws
    within = covariance[0] * draws / (draws - 1)
    correlation = 1 - (within - covariance) / (covariance[0] + split.mean(1).var(0))
    correlation = torch.cat([torch.ones_like(correlation[:1]), correlation[1:]])
    even = correlation[: draws // 2 * 2 : 2]
    pairs = even + correlation[1::2][: len(even)]
    positive = (pairs > 0).cumprod(0)
    ends = positive[:-1] - positive[1:]  # at the first pair that is left out
    beyond = (ends * even[1:].clamp(min=0)).sum(0)
    tau = -1 + 2 * (pairs * positive).cummin(0).values.sum(0) + beyond
    count = chains * draws
    return count / tau.clamp(min=1 / math.log10(count))
