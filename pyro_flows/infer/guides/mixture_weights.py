"""Which of several guides have found the same part of a posterior, and how much each of the others weighs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...flow_distribution import FlowDistribution
from ..model.density import LogDensity
from ..weights.psis import psis

__all__ = ["NEGLIGIBLE", "apart", "check_whole", "connected", "share_log_weights"]

NEGLIGIBLE = 1e-3  # a share of the posterior, or of draws, below which a component is left out
BOUND_DRAWS = 1000

SAME = 0.4  # of E[q_j / (q_k + q_j)] at draws of q_k, which is one half of equal densities
OVERLAPPING = 0.05  # the same
# The same at draws that are spread wider: Gaussians of one scale touch if they are eight of it apart or less.
TOUCHING, WIDER = 0.005, 1.5
OVERLAP_DRAWS = 500
FEWEST_DRAWS = 200  # of each component
ROUNDS, SETTLED = 500, 1e-5


@torch.no_grad()
def apart(components: Mapping[int, FlowDistribution], density: LogDensity) -> dict[int, list[int]]:
    """Return the components that are not much the same as one of a better bound, and which are like each.

    The best come first, and each is the first of those that are like it. Components whose draws hardly ever
    lie where the model has density are left out.

    Args:
        components: densities q_k of unconstrained vectors.
        density: the model's.

    Raises:
        ValueError: if a plate is subsampled.
    """
    check_whole(density, next(iter(components.values())).sample((100,)))
    bounds = {k: _bound(one, density) for k, one in components.items()}
    kept: dict[int, list[int]] = {}
    for k in sorted(components, key=lambda k: -bounds[k]):
        if bounds[k] == -math.inf:
            break
        overlaps = _overlaps(components[k], {j: components[j] for j in kept})
        most = max(overlaps, key=lambda j: overlaps[j], default=k)
        alike = most if overlaps.get(most, 0.0) >= SAME else k
        kept.setdefault(alike, []).append(k)
    return kept


def check_whole(density: LogDensity, u: Tensor) -> None:
    """Raise a ValueError if a plate of the model, run at draws near rows of `u`, is subsampled."""
    density.prepare(u)
    if part := density.runs.joint.layout.part:
        raise ValueError(f"expected a model over all data, to weigh members by their evidence; got {part}")


def _overlaps(
    component: FlowDistribution, others: Mapping[int, FlowDistribution], wider: float = 1.0
) -> dict[int, float]:
    """Return E[q_j / (q + q_j)] at draws of q, for each of the others."""
    u = component.sample((OVERLAP_DRAWS,))
    u = u.mean(0) + wider * (u - u.mean(0))
    own = component.log_prob(u)
    return {j: float((one.log_prob(u) - own).sigmoid().nan_to_num(0.0).mean()) for j, one in others.items()}


@torch.no_grad()
def connected(components: Mapping[int, FlowDistribution], *, touching: bool = False) -> list[list[int]]:
    """Return the components in groups, each of those that overlap with another of the group.

    Args:
        components: densities q_k of vectors.
        touching: whether it is enough that they come near: a flow that is trained alone grows into what its
            neighbour covers.
    """
    wider, least = (WIDER, TOUCHING) if touching else (1.0, OVERLAPPING)
    group = {k: k for k in components}
    for k, one in components.items():
        others = {j: other for j, other in components.items() if group[j] != group[k]}
        for j, overlap in _overlaps(one, others, wider).items():
            if overlap >= least and group[j] != group[k]:
                group = {i: group[k] if g == group[j] else g for i, g in group.items()}
    return [[i for i in components if group[i] == g] for g in dict.fromkeys(group.values())]


def _bound(component: FlowDistribution, density: LogDensity) -> float:
    """Return the evidence lower bound within the support; −∞ if few draws lie there."""
    u, log_q = component.rsample_and_log_prob((BOUND_DRAWS,))
    weights = (density.in_parts(u) - log_q).double()
    inside = weights[weights.isfinite()]
    share = len(inside) / BOUND_DRAWS
    return float(inside.mean()) + math.log(share) if share > NEGLIGIBLE else -math.inf


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
