"""Leave-one-out cross-validation from an approximate posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..infer import Importance, psis

__all__ = ["Loo", "loo"]


@dataclass(frozen=True)
class Loo:
    """What `loo` returns: log predictive densities of each observation given the others, in nats."""

    pointwise: Tensor
    """log p(y_i | y without i), in the observations' shape, double precision."""
    khat: Tensor
    """Shape of the weights' tail for each observation: above 0.7, its figure is not to be trusted."""
    p_loo: float
    """The effective number of parameters: how much lower the sum is than with the observation itself."""

    @property
    def elpd(self) -> float:
        """The sum over observations."""
        return float(self.pointwise.sum())

    @property
    def se(self) -> float:
        """Its standard error, from how much observations differ."""
        return float(self.pointwise.std()) * math.sqrt(self.pointwise.numel())

    @property
    def unreliable(self) -> int:
        """The number of observations with k̂ > 0.7."""
        return int((self.khat > 0.7).sum())

    def __str__(self) -> str:
        text = f"elpd {self.elpd:.1f} ± {self.se:.1f} nats, p_loo {self.p_loo:.1f}"
        if self.unreliable:
            text += f"; k̂ > 0.7 at {self.unreliable} of {self.khat.numel()} observations: do not trust it"
        return text


def loo(result: Importance, site: str | None = None) -> Loo:
    r"""Estimate Σ_i log p(y_i | y_{−i}) from draws of a guide: PSIS-LOO, corrected for the guide's error.

    The weights are p(θ, y) / (q(θ) p(y_i | θ)), Pareto-smoothed for each observation: plain PSIS-LOO would
    take the guide's draws for the posterior's.

    Magnusson, Andersen, Jonasson & Vehtari, "Bayesian leave-one-out cross-validation for large data", 2019,
    arXiv:1904.10679, section 2.

    Args:
        result: from `pyro_flows.infer.importance`.
        site: the observed site, where there are several. Its observations are those of its batch shape.

    Raises:
        ValueError: where there is no such site, it has one observation only, a log-likelihood isn't finite,
            or no weight is usable.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model(y):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y)):
        ...         pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> result = pf.infer.importance(model, guide, torch.ones(5))
        >>> pf.diagnostics.loo(result).pointwise.shape
        torch.Size([5])
    """
    if not math.isfinite(result.log_evidence):
        raise ValueError(f"expected usable importance weights; got none: {result.problem}")
    scores = result.evaluation.log_likelihood
    if site is None:
        if len(scores) != 1:
            raise ValueError(f"expected the name of one observed site of {sorted(scores)}; got none")
        site = next(iter(scores))
    if site not in scores:
        raise ValueError(f"expected an observed site of {sorted(scores)}; got {site!r}")
    shape = scores[site].shape[1:]
    if shape.numel() < 2:
        raise ValueError(
            f"expected observations in a plate; got one event of log-density shape {tuple(shape)} at {site!r}"
        )
    log_lik = scores[site].double().reshape(len(scores[site]), -1)
    if not bool(log_lik.isfinite().all()):
        raise ValueError(f"expected finite log-likelihoods; got others at {site!r}")
    pointwise, khats = [], []
    for column in log_lik.T:
        smoothed = psis(result.log_weights.to(column.device) - column)
        pointwise.append((smoothed.log_weights + column).logsumexp(0))
        khats.append(smoothed.khat)
    found = torch.stack(pointwise)
    whole = (result.smoothed.log_weights.to(log_lik.device)[:, None] + log_lik).logsumexp(0)
    p_loo = float((whole - found).sum())
    return Loo(found.reshape(shape), found.new_tensor(khats).reshape(shape), p_loo)
