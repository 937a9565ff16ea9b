"""Draws at which a model's log-density is NaN."""

from __future__ import annotations

import torch
from torch import Tensor

from ...loop.warning import warn_caller

__all__ = ["without_nan"]

Densities = dict[str, Tensor]  # of shape (draws, …), by site


def without_nan(*groups: Densities) -> tuple[tuple[Densities, ...], int]:
    """Let draws whose log-density is NaN have the density zero, as those at which the model raises.

    A warning tells how many they are. If they are more than half, they stay, and make the result NaN.

    Args:
        *groups: log-densities of sites.

    Returns:
        The groups, and at how many draws a log-density is NaN.
    """
    first = next(part for group in groups for part in group.values())
    nan = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    sites = []
    for group in groups:
        for name, part in group.items():
            found = part.isnan().reshape(len(part), -1).any(-1)
            nan |= found
            if bool(found.any()):
                sites.append(name)
    count = int(nan.sum())
    if count == 0 or 2 * count > len(nan):
        return groups, count
    warn_caller(
        f"the model's log-density is NaN at {count} of {len(nan)} draws, which count as density zero; it is "
        f"so at the site {sites[0]!r}"
    )
    cleaned = (
        {name: torch.where(part.isnan(), -torch.inf, part) for name, part in group.items()}
        for group in groups
    )
    return tuple(cleaned), count
