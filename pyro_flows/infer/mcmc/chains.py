"""What `flow_mcmc` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..model.evaluation import Evaluation, evaluate_at
from ..model.model_draws import ModelDraws
from .mixing import MOST_R_HAT, bulk_ess, r_hat, tail_ess

__all__ = ["Chains"]


@dataclass(frozen=True)
class Chains(ModelDraws):
    """Draws of Markov chains, and whether they have mixed.

    `samples` and `get_samples` are as in Pyro's `MCMC`, with deterministic sites beside the latent ones. What
    `Importance` has of its draws is here too, with the chains one after the other: `evaluation`, `draws`,
    `predicted` and `discrete`.
    """

    latents: dict[str, Tensor] = field(repr=False)
    """The latent sites' draws, of shape (chains, draws, *site)."""
    log_q: Tensor = field(repr=False)
    """The guide's log-density at them, of shape (chains, draws)."""
    independence_acceptance: Tensor = field(repr=False)
    """The share of the guide's proposals that each step accepted, of shape (chains, draws)."""
    local_acceptance: Tensor = field(repr=False)
    """The probability of acceptance of each step's local move, of shape (chains, draws)."""
    step_sizes: tuple[float, ...]
    """Of local moves, in the coordinates of each of the guide's flows."""
    thinning: int
    """Steps for each draw."""
    seconds: float
    """Wall-clock time."""
    model: Callable[..., Any] | None = field(default=None, repr=False)
    """The model."""
    guide: Callable[..., Any] | None = field(default=None, repr=False)
    """The guide."""
    args: tuple[Any, ...] = field(default=(), repr=False)
    """Positional arguments of both."""
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keyword arguments of both."""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of chains, and of draws of each."""
        chains, draws = self.log_q.shape
        return chains, draws

    @cached_property
    def evaluation(self) -> Evaluation:  # type: ignore[override]
        """The draws, one chain after the other, and their densities, site by site."""
        if self.model is None:
            raise ValueError("expected a result of pyro_flows.infer.flow_mcmc; got one that holds no model")
        flat = {name: value.flatten(0, 1) for name, value in self.latents.items()}
        return evaluate_at(self.model, flat, self.log_q.flatten(), self.args, self.kwargs)

    @cached_property
    def samples(self) -> dict[str, Tensor]:
        """Draws of every latent variable and deterministic site, of shape (chains, draws, *site)."""
        return {name: value.unflatten(0, self.shape) for name, value in self.draws.items()}

    def get_samples(self, num_samples: int | None = None, group_by_chain: bool = False) -> dict[str, Tensor]:
        """Return `samples`, as Pyro's `MCMC.get_samples` does.

        Args:
            num_samples: draw so many of them with replacement; all, in their order, if None.
            group_by_chain: whether chains are a dimension of their own, (chains, draws, *site), and
                `num_samples` are those of each chain; they follow each other otherwise, (draws, *site).
        """
        found = self.samples if group_by_chain else self.draws
        if num_samples is None:
            return dict(found)
        dim = 1 if group_by_chain else 0
        device = self.log_q.device
        count = self.shape[1] if group_by_chain else self.shape[0] * self.shape[1]
        chosen = torch.randint(count, (num_samples,), device=device)
        return {name: value.index_select(dim, chosen.to(value.device)) for name, value in found.items()}

    @cached_property
    def r_hat(self) -> dict[str, Tensor]:
        """Rank-normalised split R̂ of each latent variable, in the site's shape: 1 if the chains agree."""
        return {name: r_hat(value) for name, value in self.latents.items()}

    @cached_property
    def ess(self) -> dict[str, Tensor]:
        """The effective sample size of each latent variable's location (bulk), in the site's shape."""
        return {name: bulk_ess(value) for name, value in self.latents.items()}

    @cached_property
    def ess_tail(self) -> dict[str, Tensor]:
        """The effective sample size of the 5 % and 95 % quantiles, in the site's shape."""
        return {name: tail_ess(value) for name, value in self.latents.items()}

    @property
    def worst_r_hat(self) -> float:
        """The largest R̂ of any element; NaN if all of them are constant."""
        return _extreme(self.r_hat, max)

    @property
    def least_ess(self) -> float:
        """The smallest effective sample size of any element's location."""
        return _extreme(self.ess, min)

    @property
    def converged(self) -> bool:
        """Whether every R̂ is at most 1.01."""
        return self.worst_r_hat <= MOST_R_HAT

    def diagnostics(self) -> dict[str, dict[str, Tensor]]:
        """Return ``n_eff`` and ``r_hat`` of each latent site, as Pyro's `MCMC.diagnostics` does."""
        return {name: {"n_eff": self.ess[name], "r_hat": self.r_hat[name]} for name in self.latents}

    def __str__(self) -> str:
        chains, draws = self.shape
        proposed, local = (
            100 * float(part.mean()) for part in (self.independence_acceptance, self.local_acceptance)
        )
        return (
            f"{chains} chains of {draws} draws: R̂ ≤ {self.worst_r_hat:.3f}, effective sample size "
            f"≥ {self.least_ess:.0f}; accepted {proposed:.0f} % of the guide's proposals and {local:.0f} % "
            "of local moves"
        )


def _extreme(found: dict[str, Tensor], pick: Callable[..., float]) -> float:
    values = torch.cat([value.flatten() for value in found.values()])
    known = values[~values.isnan()].tolist()
    return pick(known) if known else float("nan")
