"""The loop of `flow_mcmc`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .hamiltonian import hamiltonian_step
from .independence import independence_steps
from .mcmc_settings import MCMCSettings
from .target import States, Target
from .trajectory import Trajectory

__all__ = ["Sampled", "sample"]

BLOCK = 2048  # proposals that are drawn and scored together
TRIES = 20  # at most so many draws of the guide for each chain, to find one where the model has a density


class Sampled(NamedTuple):
    """What `sample` returns."""

    states: States
    """Of shape (draws, chains)."""
    independence: Tensor
    """The share of the guide's proposals that were accepted, of shape (draws, chains)."""
    local: Tensor
    """The probability of acceptance of each draw's local move, of shape (draws, chains)."""
    paths: list[Trajectory]
    """The trajectories of local moves in each flow's coordinates."""


def sample(target: Target, settings: MCMCSettings, bar: Any) -> Sampled:
    """Run chains from draws of the guide: independence steps and a local one by turns.

    Raises:
        ValueError: if the model has no density at the guide's draws.
    """
    s = settings
    states = first_states(target, s.num_chains)
    paths = [Trajectory(states.u[0], s.acceptance) for _ in target.guide.components]
    kept: list[tuple[States, Tensor, Tensor]] = []
    total = s.warmup_steps + s.num_samples * s.thinning
    block = max(1, BLOCK // (s.proposals * s.num_chains))
    for done in range(total):
        if done % block == 0:
            count = min(block, total - done)
            drawn = target.proposals(count * s.proposals * s.num_chains)
            proposals = [part.unflatten(0, (count, s.proposals, s.num_chains)) for part in drawn]
        here = States(*(part[done % block] for part in proposals))
        for path in paths:
            if done in (s.warmup_steps // 4, s.warmup_steps // 2):
                path.rescale()
            elif done == s.warmup_steps:
                path.settle()
        states, independence = independence_steps(states, here)
        states, local = local_step(target, states, paths, adapt=done < s.warmup_steps)
        if done >= s.warmup_steps and (done - s.warmup_steps + 1) % s.thinning == 0:
            kept.append((states, independence, local))
        bar.update(1)
    found, proposed, moved = zip(*kept, strict=True)
    together = States(*(torch.stack(parts) for parts in zip(*found, strict=True)))
    return Sampled(together, torch.stack(proposed), torch.stack(moved), paths)


def first_states(target: Target, num_chains: int) -> States:
    """Return a draw of the guide for each chain, at which the model has a density."""
    found = target.proposals(num_chains)
    for _ in range(TRIES):
        bad = ~found.log_weights.isfinite()
        if not bool(bad.any()):
            return found
        found = found.replaced(bad, target.proposals(num_chains))
    raise ValueError(
        f"expected a guide whose draws lie where the model has density; got {int(bad.sum())} of {num_chains} "
        f"chains without such a start in {TRIES} draws each"
    )


def local_step(
    target: Target, states: States, paths: list[Trajectory], *, adapt: bool
) -> tuple[States, Tensor]:
    """Move each chain in the coordinates of one of the guide's flows, drawn from the shares at its state."""
    chosen = target.assigned(states.u)
    probability = torch.zeros_like(states.log_p)
    moved = [part.clone() for part in states]
    for k, path in enumerate(paths):
        rows = (chosen == k).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        some, accepted = hamiltonian_step(target, States(*(part[rows] for part in states)), k, path)
        for part, new in zip(moved, some, strict=True):
            part[rows] = new
        probability[rows] = accepted
        if adapt:
            path.adapt(float(accepted.mean()))
            path.note(target.noise(k, some.u))
    return States(*moved), probability
