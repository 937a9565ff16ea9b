"""Every other square of a board."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from ._plane import PlaneDensity

__all__ = ["Checkerboard"]


class _Squares(constraints.Constraint):
    """Points of [−4, 4)² whose square of side 2, counted from the lower left, has an even sum of indices."""

    is_discrete = False
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        squares = (value / 2).floor()
        on_board = ((squares >= -2) & (squares < 2)).all(-1)
        return on_board & (squares.sum(-1) % 2 == 0)


class Checkerboard(PlaneDensity):
    r"""p(y) = 1/32 on every other square of a 4 × 4 board over [−4, 4)², zero elsewhere.

    The eight squares have side 2; the lower left one is among them. Outside, the log-density is −∞.

    Grathwohl et al., "FFJORD: Free-form continuous dynamics for scalable reversible generative
    models", 2019, arXiv:1810.01367.

    Args:
        like: any floating-point tensor; samples have its dtype and device (by default torch's own).

    Example:
        >>> import torch, pyro_flows as pf
        >>> board = pf.datasets.Checkerboard()
        >>> board.sample((100,)).shape, board.support.check(board.sample((100,))).all().item()
        (torch.Size([100, 2]), True)
    """

    support = _Squares()

    def __init__(self, *, like: Tensor | None = None) -> None:
        super().__init__(like)

    def entropy(self) -> Tensor:
        """Return ln 32 nats, of shape (*batch_shape,)."""
        return self._like.new_full(self._batch_shape, math.log(32))

    def _draw(self, shape: Size) -> Tensor:
        column = torch.randint(-2, 2, shape, device=self._like.device)
        row = 2 * torch.randint(-1, 1, shape, device=self._like.device) + column % 2
        corner = torch.stack([column, row], -1).to(self._like)
        # corner + u may round up into the next square
        below = torch.nextafter(corner + 1, corner)
        return 2 * torch.minimum(corner + torch.rand_like(corner), below)

    def _log_density(self, y: Tensor) -> Tensor:
        log_prob = torch.where(self.support.check(y), -math.log(32), -math.inf).to(y)
        return torch.where(y.isnan().any(-1), math.nan, log_prob)
