"""Pareto smoothing of importance weights, and words for weights that cannot be smoothed."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

__all__ = ["Smoothed", "psis"]

_CONSTANT = 1e-3  # nats; below, all draws weigh the same and the tail has no shape to fit


class Smoothed(NamedTuple):
    """What `psis` returns."""

    log_weights: Tensor
    """Smoothed log weights of shape (n,) in double precision, summing to one on the natural scale."""
    log_mean: float
    """Logarithm of the mean smoothed weight, on the scale of the weights given."""
    khat: float
    """Shape of the tail: the weights have 1/k̂ moments. −∞ for constant weights, ∞ if there is none."""
    problem: str | None
    """What is wrong with the weights, in words; None if nothing is."""

    @property
    def ess(self) -> float:
        """Effective sample size (Σ w)² / Σ w² of the smoothed weights, at most the number of draws."""
        return math.exp(-float((2 * self.log_weights).logsumexp(0)))


def psis(log_weights: Tensor) -> Smoothed:
    r"""Replace the largest weights by quantiles of a generalised Pareto distribution fitted to them.

    The fit takes the largest min(n / 5, 3 √n) weights. ArviZ may say k̂ = ∞ without a reason; this says in
    words whether the weights are all the same (k̂ = −∞: nothing to correct), not finite, or too few.

    Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto Smoothed Importance Sampling", 2024, arXiv:1507.02646.

    Args:
        log_weights: of shape (n,); −∞ is a weight of zero.

    Raises:
        ValueError: if `log_weights` has another shape, or is empty.

    Example:
        >>> import torch, pyro_flows as pf
        >>> smoothed = pf.infer.psis(torch.randn(1000))
        >>> smoothed.khat < 0.7, smoothed.problem is None
        (True, True)
        >>> pf.infer.psis(torch.zeros(1000)).khat
        -inf
    """
    if log_weights.dim() != 1 or len(log_weights) == 0:
        raise ValueError(f"expected log weights of shape (n,), n ≥ 1; got {tuple(log_weights.shape)}")
    x = log_weights.detach().double()
    n = len(x)
    zeros = int((x == -math.inf).sum())
    bad = (x.isnan() | (x == math.inf)).nonzero()
    if len(bad) or zeros == n:
        problem = f"all {n} weights are zero: the model has density zero at every draw"
        if len(bad):
            problem = f"{len(bad)} of {n} log weights are NaN or +∞, the first of draw {int(bad[0])}"
        return Smoothed(torch.full_like(x, math.nan), math.nan, math.inf, problem)
    top = float(x.max())
    x = x - top
    if float(-x.min()) < _CONSTANT:
        return _normalised(x, top, -math.inf, None)
    problems = (
        [f"{zeros} of {n} weights are zero: draws at which the model has density zero"] if zeros else []
    )
    tail = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    values, order = x.sort()
    cutoff = values[max(n - tail - 1, 0)].clamp(min=math.log(torch.finfo(x.dtype).tiny))
    above = order[values > cutoff]
    if len(above) < 5:
        problems.append(f"only {len(above)} of {n} weights stand out: too few to tell the tail's shape")
        return _normalised(x, top, math.inf, "; ".join(problems))
    k, sigma = fit_generalized_pareto(x[above].cpu().exp() - cutoff.cpu().exp())
    if not math.isfinite(k):
        problems.append("no Pareto tail fits the largest weights")
        k = math.inf
    else:
        p = (torch.arange(len(above), dtype=x.dtype, device=x.device) + 0.5) / len(above)
        quantiles = sigma * torch.expm1(-k * torch.log1p(-p)) / k if k != 0 else -sigma * torch.log1p(-p)
        x = x.index_put((above,), (quantiles + cutoff.exp()).log().clamp(max=0.0))
    return _normalised(x, top, float(k), "; ".join(problems) or None)


def _normalised(x: Tensor, top: float, khat: float, problem: str | None) -> Smoothed:
    total = x.logsumexp(0)
    return Smoothed(x - total, top + float(total) - math.log(len(x)), khat, problem)
