"""Training a continuous flow without solving it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..flow import Flow
from ._continuous import around, undo

__all__ = ["Coupling", "FlowMatching", "independent", "optimal_transport"]

Coupling = Callable[[Tensor, Tensor], Tensor]


def independent(noise: Tensor, data: Tensor) -> Tensor:
    """Return the noise as it came: each row of data goes with any noise."""
    return noise


def optimal_transport(noise: Tensor, data: Tensor) -> Tensor:
    """Return the noise in the order that makes the sum of squared distances to the data's rows least.

    Paths that cross are rare then, and the velocities along them agree; in the limit of large batches the
    paths are straight. Solved exactly by `scipy.optimize.linear_sum_assignment`, in about 3 ms for 256 rows.

    Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf & Bengio, "Improving and Generalizing
    Flow-Based Generative Models with Minibatch Optimal Transport", 2024, arXiv:2302.00482.

    Raises:
        ImportError: where scipy is missing.
    """
    try:
        optimize = importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise ImportError("optimal transport needs scipy: pip install 'pyro-flows[continuous]'") from error
    cost = torch.cdist(data.detach(), noise).square()
    _, order = optimize.linear_sum_assignment(cost.double().cpu().numpy())
    return noise[torch.as_tensor(order, device=noise.device)]


@dataclass(frozen=True)
class FlowMatching:
    """|v(t, x_t) − (x_1 − x_0)|² with x_t = (1 − t) x_0 + t x_1 + σ ε: a loss for `pyro_flows.fit`.

    x_1 is a row of data, x_0 of the flow's base, t uniform. The least of it in expectation is the velocity
    whose flow takes the base to the data, found without solving anything: afterwards the same flow
    samples and has log-densities, as if it had been trained by maximum likelihood. What stands between
    the `NeuralODE` and the data, such as `Standardize`, is undone first.

    Lipman, Chen, Ben-Hamu, Nickel & Le, "Flow Matching for Generative Modeling", 2023, arXiv:2210.02747;
    Tong et al. 2024, arXiv:2302.00482.

    Args:
        coupling: which noise goes with which row: `independent`, or `optimal_transport` within the batch,
            for flows without context (it would tie the noise to the context).
        sigma: standard deviation σ of the noise around a path; 0 reaches the data itself.

    Raises:
        ImportError: where the coupling needs scipy and it is missing.
        ValueError: at the first use, where the flow does not fit.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.ffjord(2))
        >>> loss = pf.training.FlowMatching()
        >>> history = pf.fit(flow, torch.randn(500, 2), loss=loss, epochs=3, progress=False)
        >>> flow().log_prob(torch.randn(10, 2)).shape
        torch.Size([10])
    """

    coupling: Coupling = independent
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"expected sigma ≥ 0; got {self.sigma}")

    def __call__(self, flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return each row's loss; draws x_0, t and ε from torch's global generator."""
        before, ode, after = around(flow)
        if any(p.requires_grad for part in (*before, *after) for p in part.parameters()):
            raise ValueError("expected no parameters but the NeuralODE's to train; got others: freeze them")
        if context is not None and self.coupling is optimal_transport:
            raise ValueError("expected the independent coupling beside a context; got optimal_transport")
        with torch.no_grad():
            start = flow(context).base_dist.sample(() if context is not None else x.shape[:1])
            for part in before:
                start = part.forward_and_log_det(start, None if part.context_shape is None else context)[0]
            end, _ = undo(after, x, context)
            start = self.coupling(start, end)
            t = torch.rand_like(end[..., 0])
            here = torch.lerp(start, end, t.unsqueeze(-1))
            if self.sigma:
                here = here + self.sigma * torch.randn_like(here)
        return (ode.velocity(t, here, context) - (end - start)).square().sum(-1)

    def __repr__(self) -> str:
        return f"FlowMatching({self.coupling.__name__}, sigma={self.sigma})"
