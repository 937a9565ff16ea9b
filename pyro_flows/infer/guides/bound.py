"""The evidence lower bound of a transform's draws, and its path gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...loop.compiling import Compiled
from ...transform import FlowTransform
from ..model.batches import even_parts

__all__ = ["CHUNK", "Bound", "held_fixed"]

MOST_PASSES = 50  # through the model for one set of log-weights
CHUNK = 2000  # draws that go through the flow together if no gradient is wanted


class Bound:
    """E_q[log p(u) − log q(u)], of unconstrained draws u that go through the model together.

    With a path gradient, q's parameters are held fixed inside log q: the gradient comes through u alone, and
    has no variance when q is the posterior (Roeder, Wu & Duvenaud 2017, arXiv:1703.09194).

    Args:
        density: log p of rows of vectors, (n, d) → (n,).
        transform: from noise to u.
        base: the noise.
        path_gradient: whether the gradient is taken so.
        compile: whether `torch.compile` makes one graph of drawing u and scoring it, or the backend's name.
        together: how many draws go through the model at once; their gradients add up.
    """

    def __init__(
        self,
        density: Callable[[Tensor], Tensor],
        transform: FlowTransform,
        base: Any,
        *,
        path_gradient: bool = True,
        compile: bool | str = False,
        together: int = CHUNK,
    ) -> None:
        self.transform, self.base = transform, base
        self.held = held_fixed(transform) if path_gradient else None
        self._set(density, [transform] if self.held is None else [transform, self.held], compile, together)

    def _set(
        self,
        density: Callable[[Tensor], Tensor],
        parts: list[FlowTransform],
        compile: bool | str,
        together: int,
    ) -> None:
        self.density, self.together = density, together

        def drawn(noise: Tensor) -> tuple[Tensor, Tensor]:
            return self._drawn(noise)

        self.drawn: Callable[[Tensor], tuple[Tensor, Tensor]] = drawn
        self.compiled: Compiled | None = None
        if compile:
            # What a layer moves in a compiled graph would not reach the one that shares its memory.
            self.drawn = self.compiled = Compiled(drawn, nn.ModuleList(parts), compile, still=True)

    def prepare(self, num_samples: int) -> float:
        """Compile before the first step, if that is wanted, and return the seconds it took."""
        if self.compiled is None or self.compiled.ready:
            return 0.0
        return self.compiled.prepare(self._noise(num_samples))

    def backward(self, num_samples: int) -> Tensor:
        """Add the gradient of minus the bound to the parameters'; return the draws' log-weights."""
        with torch.enable_grad():
            u, log_q = self.drawn(self._noise(num_samples))
            shares = self._shares(log_q)
            if len(u) <= self.together:
                weights = self.density(u) - log_q
                (-(weights @ shares.to(weights))).backward()  # data may be in double precision
                return weights.detach()
            scores, gradients = [], []
            for part, share in zip(
                *(even_parts(rows, self.together) for rows in (u.detach(), shares)), strict=True
            ):
                part.requires_grad_()
                score = self.density(part)
                (-(score @ share.to(score))).backward()
                scores.append(score.detach())
                gradients.append(torch.zeros_like(part) if part.grad is None else part.grad)
            torch.autograd.backward([log_q @ shares, u], [None, torch.cat(gradients)])
            return torch.cat(scores) - log_q.detach()

    def _noise(self, num_samples: int) -> Tensor:
        """Return what a step's draws are made of."""
        noise: Tensor = self.base.rsample((num_samples,))
        return noise

    def _shares(self, log_q: Tensor) -> Tensor:
        """Return how much each of a step's draws counts."""
        return torch.full_like(log_q, 1 / len(log_q))

    def _drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log q(u)."""
        u, log_det = self.transform.forward_and_log_det(noise)
        if self.held is None:
            return u, self.base.log_prob(noise) - log_det
        z, inverse_log_det = self.held.inverse_and_log_det(u)
        return u, self.base.log_prob(z) + inverse_log_det

    def sample_and_log_prob(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Return draws u and log q(u)."""
        noise = self.base.rsample((num_samples,))
        u, log_det = self.transform.forward_and_log_det(noise)
        return u, self.base.log_prob(noise) - log_det

    @torch.no_grad()
    def weights(self, num_samples: int) -> Tensor:
        """Return log p(u) − log q(u) of fresh draws, in double precision; of fewer if the model is large."""
        found = []
        for _ in range(max(1, min(num_samples, MOST_PASSES * self.together) // CHUNK)):
            u, log_q = self.sample_and_log_prob(CHUNK)
            found.append(torch.cat([self.density(part) for part in even_parts(u, self.together)]) - log_q)
        return torch.cat(found).double()

    def balance(self) -> None:
        """Set weights of components; a single flow has none."""


def held_fixed(transform: FlowTransform) -> FlowTransform:
    """Return a copy whose parameters and buffers are the transform's own memory and need no gradient.

    One optimiser step moves both. The copy is in evaluation mode, so that it moves no statistics.
    """
    twin = copy.deepcopy(transform).eval()
    live = [*transform.parameters(), *transform.buffers()]
    for tensor, alias in zip(live, [*twin.parameters(), *twin.buffers()], strict=True):
        alias.data = tensor.data
        alias.requires_grad_(False)
    return twin
