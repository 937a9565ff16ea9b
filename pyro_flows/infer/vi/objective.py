"""The bound that `fit_vi` maximises, and its gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...loop.compiling import Compiled
from ...transform import FlowTransform
from ..model.density import LogDensity

__all__ = ["Objective"]

CHUNK = 2000  # draws that go through the model together where no gradient is wanted


class Objective:
    """E_q[log p(x, u) − log q(u)], of unconstrained draws that go through the model together.

    Args:
        density: log p.
        transform: from noise to u.
        base: the noise.
        path_gradient: whether q's parameters are held fixed inside log q.
        compile: whether `torch.compile` makes one graph of drawing u and scoring it, or the backend's name.
    """

    def __init__(
        self,
        density: LogDensity,
        transform: FlowTransform,
        base: Any,
        *,
        path_gradient: bool,
        compile: bool | str = False,
    ) -> None:
        self.density, self.transform, self.base = density, transform, base
        # Its parameters are the live ones' memory but need no gradient: one optimiser step moves both.
        self.held = _held(transform) if path_gradient else None

        def drawn(noise: Tensor) -> tuple[Tensor, Tensor]:
            return self._drawn(noise)

        self.drawn: Callable[[Tensor], tuple[Tensor, Tensor]] = drawn
        self.compiled: Compiled | None = None
        if compile:
            both = nn.ModuleList([transform] if self.held is None else [transform, self.held])
            # What a layer moves in a compiled graph would not reach the one that shares its memory.
            self.drawn = self.compiled = Compiled(drawn, both, compile, still=True)

    def prepare(self, draws: int) -> float:
        """Compile before the first step, where that is wanted, and return the seconds it took."""
        if self.compiled is None or self.compiled.ready:
            return 0.0
        return self.compiled.prepare(self.base.sample((draws,)))

    def loss(self, draws: int) -> Tensor:
        """Return minus the bound, with its gradient."""
        u, log_q = self.drawn(self.base.rsample((draws,)))
        return (log_q - self.density(u)).mean()

    def _drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log q(u)."""
        u, log_det = self.transform.forward_and_log_det(noise)
        if self.held is None:
            return u, self.base.log_prob(noise) - log_det
        z, inverse_log_det = self.held.inverse_and_log_det(u)
        return u, self.base.log_prob(z) + inverse_log_det

    @torch.no_grad()
    def weights(self, draws: int) -> Tensor:
        """Return log p(x, u) − log q(u) of fresh draws."""
        found = []
        for _ in range(max(1, draws // CHUNK)):
            noise = self.base.rsample((CHUNK,))
            u, log_det = self.transform.forward_and_log_det(noise)
            found.append(self.density(u) - self.base.log_prob(noise) + log_det)
        return torch.cat(found).double()


def _held(transform: FlowTransform) -> FlowTransform:
    twin = copy.deepcopy(transform).eval()  # which moves none of the statistics that both share
    pairs: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
        (transform.parameters, twin.parameters),
        (transform.buffers, twin.buffers),
    ]
    for live, held in pairs:
        for tensor, alias in zip(live(), held(), strict=True):
            alias.data = tensor.data
            alias.requires_grad_(False)
    return twin
