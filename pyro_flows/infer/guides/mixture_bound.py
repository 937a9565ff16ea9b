"""The evidence lower bound of a mixture's draws, and its path gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ...flow_distribution import FlowDistribution
from ..model.density import LogDensity
from .auto_mixture import AutoMixture
from .bound import CHUNK, Bound, held_fixed
from .flow_mixture import FlowMixture
from .mixture_weights import share_log_weights

__all__ = ["MixtureBound"]

FEWEST_DRAWS = 16  # of each component in a step
BALANCE_DRAWS = 10_000
LEAST_WEIGHT = 1e-4  # of a component in training, so that it can come back


class MixtureBound(Bound):
    r"""Σ_k w_k E_{q_k}[log p(u) − log Σ_j w_j q_j(u)], of as many draws of each component.

    So the components share the posterior between them: none gains by what another covers already. The
    gradient leaves the weights as they are; `balance` sets them.

    Args:
        density: log p of rows of vectors, (n, d) → (n,).
        guide: the mixture, all components of which are trained.
        path_gradient: whether q's parameters are held fixed inside log q.
        compile: whether `torch.compile` makes one graph of drawing u and scoring it, or the backend's name.
        together: how many draws go through the model at once; their gradients add up.
    """

    def __init__(
        self,
        density: LogDensity,
        guide: AutoMixture,
        *,
        path_gradient: bool = True,
        compile: bool | str = False,
        together: int = CHUNK,
    ) -> None:
        self.guide, self.in_parts = guide, density.in_parts
        self.log_weights = guide.log_weights
        self.bases = [member.get_base_dist() for member in guide.guides]
        self.transforms = [member.get_transform() for member in guide.guides]
        held = [held_fixed(one) for one in self.transforms] if path_gradient else []
        self.scorers = held or self.transforms
        self._set(density, [*self.transforms, *held], compile, together)

    def _noise(self, num_samples: int) -> Tensor:
        count = max(FEWEST_DRAWS, num_samples // len(self.bases))
        return torch.stack([base.rsample((count,)) for base in self.bases])

    def _shares(self, log_q: Tensor) -> Tensor:
        count = len(log_q) // len(self.bases)
        return self.log_weights.exp().repeat_interleave(count) / count

    def _drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(self.transforms, noise.unbind(), strict=True)
        u = torch.cat([one.forward_and_log_det(z)[0] for one, z in parts])
        scores = []
        for base, one in zip(self.bases, self.scorers, strict=True):
            z, log_det = one.inverse_and_log_det(u)
            scores.append(base.log_prob(z) + log_det)
        return u, (torch.stack(scores, -1) + self.log_weights).logsumexp(-1)

    def sample_and_log_prob(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Return draws u and log q(u)."""
        posterior = FlowMixture(self._components(), self.log_weights)
        u = posterior.sample((num_samples,))
        return u, posterior.log_prob(u)

    @torch.no_grad()
    def balance(self) -> None:
        """Set the weights to the components' shares of the posterior."""
        found = (
            share_log_weights(self._components(), self.in_parts, BALANCE_DRAWS).exp().clamp(min=LEAST_WEIGHT)
        )
        self.log_weights.copy_((found / found.sum()).log())

    def _components(self) -> list[FlowDistribution]:
        return [member.get_posterior() for member in self.guide.guides]
