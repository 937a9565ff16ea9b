"""Independence Metropolis steps."""

from __future__ import annotations

import torch
from torch import Tensor

from .target import States

__all__ = ["independence_steps"]


def independence_steps(states: States, proposals: States) -> tuple[States, Tensor]:
    r"""Accept u′ ~ q with probability min(1, w(u′) / w(u)), w = p / q: one step after the other.

    Args:
        states: of n chains.
        proposals: of shape (steps, n).

    Returns:
        The chains' states after all steps, and the mean acceptance of each chain, of shape (n,).
    """
    accepted = torch.zeros_like(states.log_p)
    levels = torch.rand_like(proposals.log_p).log()
    for step, level in enumerate(levels):
        new = States(*(part[step] for part in proposals))
        ratio = new.log_weights - states.log_weights
        where = (level < ratio) & new.log_weights.isfinite()
        states = states.replaced(where, new)
        accepted += where
    return states, accepted / len(levels)
