"""Which of several fits have found the same part of a posterior, and how much each of the others weighs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...flow_distribution import FlowDistribution
from ..weights.psis import psis

__all__ = ["different", "share_log_weights"]

SAME = 0.4  # of E[q_j / (q_k + q_j)], which is one half of equal densities, and zero of ones that lie apart
OVERLAP_DRAWS = 500
FEWEST_DRAWS = 200  # of each component
ROUNDS, SETTLED = 500, 1e-5


@torch.no_grad()
def different(components: Sequence[FlowDistribution], bounds: Sequence[float]) -> dict[int, int]:
    """Return the components that are not much the same as one of a better bound, and how many are like each.

    The best come first, and each is like itself.

    Args:
        components: densities q_k of vectors.
        bounds: their evidence lower bounds, in nats; −∞ of components that are to be left out.
    """
    kept: dict[int, int] = {}
    for k in sorted(range(len(components)), key=lambda k: -bounds[k]):
        if bounds[k] == -math.inf:
            break
        u, own = components[k].rsample_and_log_prob((OVERLAP_DRAWS,))
        overlaps = {
            j: float((components[j].log_prob(u) - own).sigmoid().nan_to_num(0.0).mean()) for j in kept
        }
        most = max(overlaps, key=lambda j: overlaps[j], default=k)
        alike = most if overlaps.get(most, 0.0) >= SAME else k
        kept[alike] = kept.get(alike, 0) + 1
    return kept


@torch.no_grad()
def share_log_weights(
    components: Sequence[FlowDistribution], log_density: Callable[[Tensor], Tensor], num_samples: int
) -> Tensor:
    r"""Return the log w_k of the mixture that is nearest to p, as KL(p ‖ Σ_k w_k q_k) measures it.

    For components that lie apart they are their shares of the evidence. They are found by expectation
    maximisation over draws of all components, weighed by p over the components' mean.

    Args:
        components: densities q_k of vectors.
        log_density: log p of rows of vectors, up to a constant.
        num_samples: draws, of all components together.

    Raises:
        ValueError: if no draw has a density.
    """
    count = max(FEWEST_DRAWS, num_samples // len(components))
    u = torch.cat([one.sample((count,)) for one in components])
    log_q = torch.stack([one.log_prob(u) for one in components], -1).double()
    log_q = log_q.nan_to_num(-math.inf, -math.inf, -math.inf)
    smoothed = psis(log_density(u).double() - log_q.logsumexp(-1))
    weights = smoothed.log_weights.exp()
    if not bool(weights.isfinite().all()):
        raise ValueError(f"expected members whose draws lie where the model has density; {smoothed.problem}")
    log_w = log_q.new_full((len(components),), -math.log(len(components)))
    for _ in range(ROUNDS):
        shares = (log_q + log_w).softmax(-1)
        found = (weights[:, None] * shares).sum(0)
        change = float((found - log_w.exp()).abs().max())
        log_w = found.log()
        if change < SETTLED:
            break
    return log_w - log_w.logsumexp(0)
