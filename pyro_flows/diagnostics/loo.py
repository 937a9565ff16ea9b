"""Leave-one-out cross-validation from an approximate posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..infer import Importance, psis
from .results import as_list, enough

__all__ = ["Loo", "loo"]


@dataclass(frozen=True)
class Loo:
    """What `loo` returns: log predictive densities of each observation given the others, in nats."""

    pointwise: Tensor
    """log p(y_i | y without i), in the observations' shape, double precision; NaN for masked ones."""
    khat: Tensor
    """Shape of the weights' tail for each observation: above 0.7, its figure is not to be trusted. NaN for
    masked observations."""
    p_loo: float
    """The effective number of parameters: how much lower the sum is than with the observation itself."""

    @property
    def counted(self) -> Tensor:
        """Which observations are not masked, a boolean tensor in their shape."""
        return ~self.khat.isnan()

    @property
    def elpd(self) -> float:
        """The sum over observations."""
        return float(self.pointwise[self.counted].sum())

    @property
    def se(self) -> float:
        """Its standard error, from how much observations differ."""
        counted = self.pointwise[self.counted]
        return float(counted.std()) * math.sqrt(counted.numel())

    @property
    def unreliable(self) -> int:
        """The number of observations with k̂ > 0.7."""
        return int((self.khat > 0.7).sum())

    def __str__(self) -> str:
        text = f"elpd {self.elpd:.1f} ± {self.se:.1f} nats, p_loo {self.p_loo:.1f}"
        if self.unreliable:
            text += (
                f"; k̂ > 0.7 at {self.unreliable} of {int(self.counted.sum())} observations: do not trust it"
            )
        return text


def loo(result: Importance, site: str | None = None) -> Loo:
    r"""Estimate Σ_i log p(y_i | y_{−i}) from draws of a guide: PSIS-LOO, corrected for the guide's error.

    The weights are p(θ, y) / (q(θ) p(y_i | θ)), Pareto-smoothed for each observation: plain PSIS-LOO would
    take the guide's draws for the posterior's. Under `pyro.poutine.scale` an observation's part in the
    posterior is p(y_i | θ) to the power of the scale: that is left out, and p(y_i | θ) itself predicted.

    Magnusson, Andersen, Jonasson & Vehtari, "Bayesian leave-one-out cross-validation for large data", 2019,
    arXiv:1904.10679, section 2.

    Args:
        result: from `pyro_flows.infer.importance`, of at least 100 draws.
        site: the observed site; needed if there are several. Its observations are those of its batch shape;
            masked ones are left out.

    Raises:
        TypeError: if `result` is not of `importance`.
        ValueError: if there are fewer draws, there is no such site, it has one observation only, or so many
            that their log-likelihoods were not kept, one isn't finite, or no weight is usable.

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
    if len(results := as_list(result)) > 1:
        raise ValueError(f"expected the result of one fit; got {len(results)}")
    enough(result)
    if not math.isfinite(result.log_evidence):
        raise ValueError(f"expected usable importance weights; got none: {result.problem}")
    scores, mask, scale = _scores(result, site)
    columns = scores.reshape(len(scores), -1)[:, mask.reshape(-1)]
    if not bool(columns.isfinite().all()):
        raise ValueError("expected finite log-likelihoods; got others")
    log_weights = result.log_weights.to(columns.device)
    smoothed = [psis(log_weights - column) for column in columns.T]
    left_out = torch.stack([s.log_weights for s in smoothed], 1)
    predicted = columns / scale[mask]
    found = (left_out + predicted).logsumexp(0)
    whole = (result.smoothed.log_weights.to(columns.device)[:, None] + predicted).logsumexp(0)
    pointwise, khat = (found.new_full(mask.shape, math.nan) for _ in range(2))
    pointwise[mask], khat[mask] = found, found.new_tensor([s.khat for s in smoothed])
    return Loo(pointwise, khat, float((whole - found).sum()))


def _scores(result: Importance, site: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return a site's log-likelihoods (draws, *batch), which observations count, and what scales them."""
    scores = result.evaluation.log_likelihood
    if site is None:
        if len(scores) != 1:
            raise ValueError(f"expected the name of one observed site of {sorted(scores)}; got none")
        site = next(iter(scores))
    if site not in scores:
        raise ValueError(f"expected an observed site of {sorted(scores)}; got {site!r}")
    if (count := result.evaluation.summed.get(site)) is not None:
        draws = len(scores[site])
        raise ValueError(
            f"expected log-likelihoods of single observations; got their sums, since {count:,} × {draws:,} "
            f"draws at {site!r} take too much memory: ask importance for fewer draws"
        )
    found = scores[site].double()
    shape = found.shape[1:]
    scale = result.evaluation.scales.get(site, torch.ones(())).to(found).expand(shape)
    mask = result.evaluation.observed_masks.get(site, torch.ones(shape, dtype=torch.bool)).to(found.device)
    mask = mask.expand(shape) & (scale > 0)
    if int(mask.sum()) < 2:
        got = f"{int(mask.sum())} of log-density shape {tuple(shape)} at {site!r}"
        raise ValueError(f"expected at least two observations, in a plate; got {got}")
    return found, mask, scale
