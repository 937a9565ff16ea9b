"""A posterior as seen from a guide: proposals of the guide, and the coordinates of its flows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..guides.flow_mixture import FlowMixture
from ..model.density import LogDensity
from ..model.given import ValueDoesNotFit

__all__ = ["States", "Target"]


class States(NamedTuple):
    """Unconstrained vectors and both log-densities at them, one for each chain or proposal."""

    u: Tensor
    """Of shape (*batch, d)."""
    log_p: Tensor
    """The model's, in double precision, (*batch,)."""
    log_q: Tensor
    """The guide's, in double precision, (*batch,)."""

    @property
    def log_weights(self) -> Tensor:
        """The log p(u) − log q(u), of shape (*batch,)."""
        return self.log_p - self.log_q

    def replaced(self, where: Tensor, others: States) -> States:
        """Return the states with those of `others` where `where`, of shape (*batch,), says so."""
        return States(
            torch.where(where[..., None], others.u, self.u),
            torch.where(where, others.log_p, self.log_p),
            torch.where(where, others.log_q, self.log_q),
        )


class Target:
    r"""p(u) r_k(u) |det ∂T_k/∂z|, u = T_k(z), with the share r_k = w_k q_k / q that flow k has in the guide.

    A chain that first draws k from the shares at u, and then moves z by a kernel that leaves this density
    invariant, leaves p(u) invariant. For a guide of one flow the share is one, and the density is the
    posterior in the flow's own coordinates: standard normal if the guide is exact. Its logarithm is
    log p(u) − log q(u) + log w_k + log φ(z).

    Args:
        density: log p of rows of vectors, prepared.
        guide: q.
        together: how many vectors go through the model at once.
    """

    def __init__(self, density: LogDensity, guide: FlowMixture, together: int) -> None:
        self.density, self.guide, self.together = density, guide, together

    @torch.no_grad()
    def proposals(self, count: int) -> States:
        """Return draws of the guide."""
        u, log_q = self._drawn(count)
        log_p = torch.cat([self._scored(part) for part in u.split(self.together)])
        return States(u, log_p.double(), log_q.double())

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        if len(self.guide.components) == 1:
            return self.guide.components[0].rsample_and_log_prob((count,))
        u = self.guide.sample((count,))
        return u, self.guide.log_prob(u)

    @torch.no_grad()
    def assigned(self, u: Tensor) -> Tensor:
        """Draw which flow moves each vector, from the shares at it: (n, d) → (n,)."""
        if len(self.guide.components) == 1:
            return torch.zeros(len(u), dtype=torch.long, device=u.device)
        shares = self.guide.joint_log_probs(u).double().softmax(-1)
        return torch.multinomial(shares, 1)[:, 0]

    @torch.no_grad()
    def noise(self, k: int, u: Tensor) -> Tensor:
        """Return z at u in the coordinates of flow k."""
        z: Tensor = self.guide.components[k].transforms[0].inverse_and_log_det(u)[0]
        return z

    def at(self, k: int, z: Tensor) -> tuple[States, Tensor, Tensor]:
        """Return the states at z, of shape (n, d), the log-density there, (n,), and its gradient, (n, d)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            flow = self.guide.components[k]
            u, log_det = flow.transforms[0].forward_and_log_det(z)
            base = flow.base_dist.log_prob(z)
            log_q = base - log_det
            if len(self.guide.components) > 1:
                log_q = self.guide.log_prob(u)
            log_p = torch.cat([self._scored(part) for part in u.split(self.together)])
            value = log_p.double() - log_q + self.guide.log_weights[k] + base
            gradient = torch.autograd.grad(value.sum(), z)[0]
        states = States(u.detach(), log_p.detach().double(), log_q.detach().double())
        return states, value.detach(), gradient

    def _scored(self, u: Tensor) -> Tensor:
        """Return log p of rows; −∞ at those at which the model raises, be they all."""
        try:
            return self.density(u)
        except ValueDoesNotFit:
            raise
        except ValueError:  # the model raises at most of them
            if len(u) == 1:
                return u.new_full((1,), -torch.inf)
            return torch.cat([self._scored(half) for half in u.tensor_split(2)])
