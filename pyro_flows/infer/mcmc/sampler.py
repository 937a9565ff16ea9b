"""The loop of `flow_mcmc`."""

from __future__ import annotations

from collections.abc import Callable
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
MOST_THINNING = 16
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
    thinning: int
    """Steps for each draw."""


class _Chains:
    """The chains' present states, and the steps that move them."""

    def __init__(self, target: Target, settings: MCMCSettings) -> None:
        self.target, self.settings = target, settings
        self.states = first_states(target, settings.num_chains)
        self.paths = [Trajectory(self.states.u[0], settings.acceptance) for _ in target.guide.components]
        self._proposals: list[States] = []

    def step(self, *, adapt: bool) -> tuple[States, Tensor, Tensor]:
        """Return the states after some independence steps and a local one, and the acceptance of both."""
        self.states, proposed = independence_steps(self.states, self._next_proposals())
        self.states, moved = local_step(self.target, self.states, self.paths, adapt=adapt)
        return self.states, proposed, moved

    def warm_up(self, bar: Any) -> None:
        """Take the steps in which trajectories are adapted."""
        count = self.settings.warmup_steps
        for done in range(count):
            if done in (count // 4, count // 2):
                for path in self.paths:
                    path.rescale()
            self.step(adapt=True)
            bar.update(1)
        for path in self.paths:
            path.settle()

    def _next_proposals(self) -> States:
        if not self._proposals:
            s = self.settings
            count = max(1, BLOCK // (s.proposals * s.num_chains))
            drawn = self.target.proposals(count * s.proposals * s.num_chains)
            parts = [part.unflatten(0, (count, s.proposals, s.num_chains)) for part in drawn]
            self._proposals = [States(*found) for found in zip(*parts, strict=True)]
        return self._proposals.pop()


def sample(target: Target, settings: MCMCSettings, bar: Any, has_mixed: Callable[[Tensor], bool]) -> Sampled:
    """Run chains from draws of the guide.

    If the thinning is not given, chains that have not mixed go on: with the thinning doubled, and the older
    half of their draws dropped.

    Args:
        target: the posterior.
        settings: how to sample.
        bar: shows progress.
        has_mixed: whether vectors of shape (chains, draws, d) are enough.

    Raises:
        ValueError: if the model has no density at the guide's draws.
    """
    chains = _Chains(target, settings)
    chains.warm_up(bar)
    kept: list[tuple[States, Tensor, Tensor]] = []
    thinning = settings.thinning or 1
    while True:
        while len(kept) < settings.num_samples:
            for _ in range(thinning):
                draw = chains.step(adapt=False)
                bar.update(1)
            kept.append(draw)
        found, proposed, moved = zip(*kept, strict=True)
        states = States(*(torch.stack(parts) for parts in zip(*found, strict=True)))
        if settings.thinning is not None or thinning >= MOST_THINNING or has_mixed(states.u.transpose(0, 1)):
            return Sampled(states, torch.stack(proposed), torch.stack(moved), chains.paths, thinning)
        thinning *= 2
        kept = kept[len(kept) // 2 :][1::2]


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
