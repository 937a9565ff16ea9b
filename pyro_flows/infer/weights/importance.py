"""Importance sampling from a guide: the evidence, how far to trust the guide, and corrected draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..model.evaluation import Evaluation, evaluate
from ..model.model_draws import ModelDraws
from .psis import Smoothed, psis

__all__ = ["Importance", "importance"]


@dataclass(frozen=True)
class Importance(ModelDraws):
    r"""Draws θ of a guide q with log weights log p(y, θ) − log q(θ), and what follows from them.

    All figures are in nats. They see only where the guide puts draws: a mode that it misses altogether leaves
    no trace in the weights. Compare the log evidence of independent fits (`pyro_flows.diagnostics.report`).
    """

    evaluation: Evaluation
    """The draws and their densities, site by site."""
    model: Callable[..., Any] | None = None
    """The model."""
    guide: Callable[..., Any] | None = None
    """The guide."""
    args: tuple[Any, ...] = ()
    """Positional arguments of both."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of both."""

    @cached_property
    def log_weights(self) -> Tensor:
        """The log p(y, θ) − log q(θ), of shape (draws,)."""
        return self.evaluation.log_p - self.evaluation.log_q

    @cached_property
    def smoothed(self) -> Smoothed:
        """The Pareto-smoothed log weights, with k̂ and a word on weights that cannot be smoothed."""
        return psis(self.log_weights)

    @property
    def khat(self) -> float:
        """Shape k̂ of the weights' tail: below 0.7, weighted means settle at a practical number of draws."""
        return self.smoothed.khat

    @cached_property
    def problem(self) -> str | None:
        """What is wrong with the weights, and at which sites, in words; None if nothing is."""
        problem = self.smoothed.problem
        if problem is None:
            return None
        parts = (
            self.evaluation.log_prior | self.evaluation.log_likelihood | {"the guide": self.evaluation.log_q}
        )
        culprits = [name for name, part in parts.items() if not bool(part.isfinite().all())]
        return f"{problem} (not finite: {', '.join(culprits)})" if culprits else problem

    @property
    def ess(self) -> float:
        """Effective sample size (Σ w)² / Σ w² of the smoothed weights, at most the number of draws."""
        return self.smoothed.ess

    @property
    def elbo(self) -> float:
        """The mean log weight, E_q[log p(y, θ) − log q(θ)]."""
        return float(self.log_weights.mean())

    @property
    def elbo_error(self) -> float:
        """Standard error of the ELBO."""
        return float(self.log_weights.std()) / math.sqrt(len(self.log_weights))

    @property
    def log_evidence(self) -> float:
        """The log p(y), estimated by the mean of the smoothed weights."""
        return self.smoothed.log_mean

    @property
    def log_evidence_error(self) -> float:
        """Standard error of the log evidence by the delta method; too small if k̂ > 0.7."""
        return math.sqrt(max(1 / self.ess - 1 / len(self.log_weights), 0.0))

    @property
    def gap(self) -> float:
        """The log evidence − ELBO, an estimate of KL(q ‖ posterior) from below."""
        return self.log_evidence - self.elbo

    def resample(self, num_samples: int | None = None) -> dict[str, Tensor]:
        """Return draws of the corrected posterior: the guide's, picked by their smoothed weights.

        The picks are systematic, so that a draw of weight w comes ⌊n w⌋ or ⌈n w⌉ times; they come in random
        order.

        Args:
            num_samples: n, as many as there are draws if None.

        Raises:
            ValueError: if there is no usable weight, or `num_samples` < 1.
        """
        chosen = self.resampled_indices(num_samples)
        return {name: value[chosen.to(value.device)] for name, value in self.draws.items()}

    def resampled_indices(self, num_samples: int | None = None) -> Tensor:
        """Return which draws `resample` would pick, of shape (num_samples,)."""
        weights = self.smoothed.log_weights.exp()
        n = len(weights) if num_samples is None else num_samples
        if n < 1:
            raise ValueError(f"expected num_samples ≥ 1; got {n}")
        if not bool(weights.isfinite().all()):
            raise ValueError(f"expected usable importance weights; got none: {self.problem}")
        steps = torch.arange(n, dtype=weights.dtype, device=weights.device)
        places = (steps + torch.rand((), dtype=weights.dtype, device=weights.device)) / n
        picks = torch.searchsorted(weights.cumsum(0), places).clamp(max=len(weights) - 1)
        return picks[torch.randperm(n, device=weights.device)]

    def moments(self, *, corrected: bool = True) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return mean and standard deviation of every latent variable and deterministic site.

        Args:
            corrected: whether by the smoothed weights, or of the guide's own draws, without those at which
                the model raised.
        """
        weights = self.smoothed.log_weights.exp()
        raised = self.evaluation.raised
        if not corrected:
            kept = (~raised).to(weights)
            weights = kept / kept.sum()
        means, sds = {}, {}
        for name, value in self.draws.items():
            x = value.double()
            ones = [1] * (x.dim() - 1)
            # Deterministic values are NaN where the model raised.
            x = torch.where(raised.to(x.device).reshape(-1, *ones), 0.0, x)
            w = weights.to(x.device).reshape(-1, *ones)
            means[name] = (w * x).sum(0)
            sds[name] = (w * (x - means[name]).square()).sum(0).sqrt()
        return means, sds


def importance(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *args: Any,
    num_samples: int = 4000,
    **kwargs: Any,
) -> Importance:
    """Weigh a guide's draws against the model: k̂, effective sample size, log evidence, corrected draws.

    Works with any guide of all the model's latent variables, automatic or written by hand. Draws run at once,
    under a plate or by `torch.func.vmap`; a model that cannot do either runs draw by draw, with a warning.
    Discrete sites that the model marks by ``infer={"enumerate": "parallel"}`` are summed out.

    Yao, Vehtari, Simpson & Gelman, "Yes, but Did It Work?: Evaluating Variational Inference", 2018,
    arXiv:1802.02538.

    Args:
        model: a Pyro model.
        guide: its guide, fitted.
        *args: what both are called with.
        num_samples: number of draws.
        **kwargs: what both are called with.

    Raises:
        ValueError: if guide and model do not fit, a plate is subsampled, or the model raises at most draws.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))
        >>> def guide():
        ...     pyro.sample("x", dist.Normal(0.4, 0.8))
        >>> result = pf.infer.importance(model, guide)
        >>> exact = dist.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0))
        >>> abs(result.log_evidence - float(exact)) < 0.02, result.khat < 0.7
        (True, True)
        >>> result.resample(100)["x"].shape
        torch.Size([100])
    """
    evaluation = evaluate(model, guide, args, kwargs, num_samples=num_samples)
    return Importance(evaluation, model, guide, args, kwargs)
