"""Draws beside others, far from them: what a draw must not be moved by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import biject_to

from .batches import Values, count_of

__all__ = ["among_others"]


def among_others(
    rows: Values, supports: Mapping[str, constraints.Constraint], size: int, *, width: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch that holds the given draws among others, and where in it they are.

    The others are the same draws, moved in unconstrained space by about `width` and a tenth of their distance
    from zero: not so far that a model which solves an equation would take for ever. In one coordinate all
    are moved to one side, so that not even a median stays where it is; a negative width moves them to the
    other.

    Args:
        rows: fewer than half of `size` draws, of shape (rows, *site) each.
        supports: of continuous sites; others are not moved.
        size: how many draws the batch has.
        width: how far the others are moved.
    """
    count = count_of(rows)
    device = next(iter(rows.values())).device
    order = torch.arange(size, device=device) % count
    places = 1 + 2 * torch.arange(count, device=device)  # so that every one has others before and after it
    generator = torch.Generator().manual_seed(0)
    batch = {}
    for name, value in rows.items():
        moved = _moved(value[order], supports.get(name), width, generator)
        batch[name] = moved.index_copy(0, places, value)
    return batch, places


def _moved(
    value: Tensor, support: constraints.Constraint | None, width: float, generator: torch.Generator
) -> Tensor:
    if support is None or width == 0:
        return value
    try:
        transform = biject_to(support)
    except NotImplementedError:
        return value
    u = transform.inv(value)
    side = torch.randn(u.shape[1:], generator=generator).sign()
    step = (side * (0.5 + torch.rand(u.shape, generator=generator))).to(u)
    found: Tensor = transform(u + width * step * (1 + u.abs() / 10))
    return found
