"""Maximum likelihood of continuous flows that stay easy to solve."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..flow import Flow
from ..transforms import NeuralODE
from ..transforms.walk import Walk
from .continuous import around

__all__ = ["PenalisedLikelihood"]


@dataclass(frozen=True)
class PenalisedLikelihood:
    """−log p(y) + λ_K ∫ |v|² dt + λ_J ∫ |(∂v/∂x) ε|² dt: a loss for `pyro_flows.fit` of a continuous flow.

    Finlay, Jacobsen, Nurbekyan & Oberman, "How to Train Your Neural ODE: the World of Jacobian and Kinetic
    Regularization", 2020, arXiv:2002.02798.

    Args:
        kinetic: λ_K, the weight of the distance travelled.
        jacobian: λ_J, the weight of how much the surroundings are bent; signs ε are drawn at random.

    Raises:
        ValueError: at the first use, if the flow has not exactly one `NeuralODE`.

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
        around(flow)
        walk, loss = Walk(flow.transform, x, context), x.new_zeros(())
        for visit in walk:
            if isinstance(visit.layer, NeuralODE):
                visit.x, log_det, penalties = visit.layer.inverse_with_penalties(visit.y, visit.context)
                loss = loss + self.kinetic * penalties.kinetic + self.jacobian * penalties.jacobian
            else:
                log_det = visit.score()[1]
            loss = loss - log_det
        return loss - flow(context).base_dist.log_prob(walk.x)
