"""Maximum likelihood of continuous flows that stay easy to solve."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..flow import Flow
from .continuous import around, undo

__all__ = ["PenalisedLikelihood"]


@dataclass(frozen=True)
class PenalisedLikelihood:
    """−log p(y) + λ_K ∫ |v|² dt + λ_J ∫ |(∂v/∂x) ε|² dt: a loss for `pyro_flows.fit` of a continuous flow.

    Finlay, Jacobsen, Nurbekyan & Oberman, "How to Train Your Neural ODE: the World of Jacobian and Kinetic
    Regularization", 2020, arXiv:2002.02798.

    Args:
        kinetic: λ_K.
        jacobian: λ_J.

    Raises:
        ValueError: at the first use, where the flow has not one `NeuralODE`.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.ffjord(2, solver=pf.ode.RungeKutta(4)))
        >>> loss = pf.training.PenalisedLikelihood(kinetic=0.1, jacobian=0.1)
        >>> loss(flow, torch.randn(10, 2)).shape
        torch.Size([10])
    """

    kinetic: float = 0.01
    jacobian: float = 0.01

    def __call__(self, flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return each row's loss in nats."""
        before, ode, after = around(flow)
        end, outer = undo(after, x, context)
        given = None if ode.context_shape is None else context
        start, middle, penalties = ode.inverse_with_penalties(end, given)
        noise, inner = undo(before, start, context)
        log_prob = flow(context).base_dist.log_prob(noise) + inner + middle + outer
        return self.kinetic * penalties.kinetic + self.jacobian * penalties.jacobian - log_prob
