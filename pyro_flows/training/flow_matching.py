"""Training a continuous flow without solving it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..bases import StandardNormal
from ..flow import Flow
from ..transforms import Chain, NeuralODE
from ..transforms.walk import Walk
from .continuous import Around, around

__all__ = ["Coupling", "FlowMatching", "optimal_transport"]

Coupling = Callable[[Tensor, Tensor], Tensor]

_NEAR = 1e-2  # closer to the data only the row itself is likely, and rounding would decide between rows


def optimal_transport(noise: Tensor, data: Tensor) -> Tensor:
    """Return the noise in the order that makes the sum of squared distances to the data's rows least.

    Few paths cross then, so that velocities agree; in the limit of large batches paths are straight.
    Solved exactly by `scipy.optimize.linear_sum_assignment`, in about 3 ms for 256 rows.

    Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf & Bengio, "Improving and Generalizing
    Flow-Based Generative Models with Minibatch Optimal Transport", 2024, arXiv:2302.00482.

    Raises:
        ImportError: if scipy is missing.
    """
    try:
        optimize = importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise ImportError("optimal transport needs scipy: pip install 'pyro-flows[continuous]'") from error
    cost = torch.cdist(data.detach(), noise).square()
    _, order = optimize.linear_sum_assignment(cost.double().cpu().numpy())
    return noise[torch.as_tensor(order, device=noise.device)]


def _averaged(here: Tensor, t: Tensor, start: Tensor, data: Tensor, sigma: float) -> Tensor:
    """Return E[x_1 − x_0] given x_t, where x_1 may have been any row of `data`.

    A row's weight is N(x_t; t x_1, (1 − t)² + σ²). `start` and row i of `data` made row i of `here`.
    """
    t = t.unsqueeze(-1)
    left = (1 - t).clamp(min=_NEAR)
    variance = left * left + sigma * sigma
    closeness = t * (here @ data.T) - 0.5 * t * t * data.square().sum(-1)
    mean = (closeness / variance).softmax(-1) @ data
    averaged = mean - left / variance * (here - t * mean)
    return torch.where(1 - t < _NEAR, data - start, averaged)


@dataclass(frozen=True)
class FlowMatching:
    """|v(t, x_t) − (x_1 − x_0)|² with x_t = (1 − t) x_0 + t x_1 + σ ε: a loss for `pyro_flows.fit`.

    x_1 is a row of data, x_0 of the flow's base. The loss is least in expectation for the velocity whose
    flow takes the base to the data, found without solving an equation: afterwards the same flow samples
    and has log-densities, as if it had been trained by maximum likelihood. Layers between the `NeuralODE`
    and the data, such as `Standardize`, are inverted first.

    Late times, averaged velocities and the learning rate, 5e-3 unless `fit` is told another, are the defaults
    since they are best by the KL to two moons (benchmarks/README.md).

    Lipman, Chen, Ben-Hamu, Nickel & Le, "Flow Matching for Generative Modeling", 2023, arXiv:2210.02747;
    Tong et al. 2024, arXiv:2302.00482; `averaged`: Xu, Tong & Jaakkola, "Stable Target Field for Reduced
    Variance Score Estimation in Diffusion Models", 2023, arXiv:2302.00670.

    Args:
        coupling: which noise goes with which row: None for any, or `optimal_transport` within the batch,
            for flows without context (it would tie the noise to the context).
        sigma: standard deviation σ of the noise around a path; 0 reaches the data itself.
        late: draw times of density ½ (1 − t)^(−½), which train the last moments most, where sharp data take
            shape; uniform times if False.
        averaged: aim at the mean velocity of all the batch's rows that may have led to x_t, weighted by how
            likely each is, instead of the one that did. The expected gradient is the same, and much less
            noisy in few dimensions. A batch of n rows costs n² weights. It needs a standard normal base
            next to the `NeuralODE`, and neither a coupling nor a context; None averages if these hold.

    Raises:
        ImportError: if the coupling needs scipy and it is missing.
        ValueError: if an argument is out of its range; at the first use, if the flow does not fit.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.ffjord(2))
        >>> loss = pf.training.FlowMatching()
        >>> history = pf.fit(flow, torch.randn(500, 2), loss=loss, epochs=3, progress=False)
        >>> flow().log_prob(torch.randn(10, 2)).shape
        torch.Size([10])
    """

    learning_rate: ClassVar[float] = 5e-3  # see `Settings`

    coupling: Coupling | None = None
    sigma: float = 0.0
    late: bool = field(default=True, kw_only=True)
    averaged: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"expected sigma ≥ 0; got {self.sigma}")
        if self.averaged and self.coupling is not None:
            raise ValueError(f"expected averaged velocities without a coupling; got {self}")

    def __call__(self, flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return each row's loss; draws x_0, t and ε from torch's global generator."""
        parts = around(flow)
        averages = self._averages(flow, parts, context)
        with torch.no_grad():
            start = flow(context).base_dist.sample(() if context is not None else x.shape[:1])
            end = next(v.y for v in Walk(flow.transform, x, context) if isinstance(v.layer, NeuralODE))
            if isinstance(flow.transform, Chain):
                context = flow.transform.inner_context(context)
            for layer in reversed(parts.before):
                start = layer.forward_and_log_det(start, layer.routed(context))[0]
            start = start if self.coupling is None else self.coupling(start, end)
            u = 1 - torch.rand_like(end[..., 0])
            t = 1 - u * u if self.late else u
            here = torch.lerp(start, end, t.unsqueeze(-1))
            if self.sigma:
                here = here + self.sigma * torch.randn_like(here)
            wanted = _averaged(here, t, start, end, self.sigma) if averages else end - start
        return (parts.ode.velocity(t, here, context) - wanted).square().sum(-1)

    def _averages(self, flow: Flow, parts: Around, context: Tensor | None) -> bool:
        """Check that the flow fits, and return whether velocities are averaged."""
        if any(p.requires_grad for part in (*parts.before, *parts.after) for p in part.parameters()):
            raise ValueError("expected no parameters but the NeuralODE's to train; got others: freeze them")
        if context is not None and (self.averaged or self.coupling is optimal_transport):
            raise ValueError(f"expected no coupling and no averaging beside a context; got {self}")
        if context is not None or self.averaged is False:
            return False
        standard = not parts.before and isinstance(flow().base_dist, StandardNormal)
        if self.averaged and not standard:
            raise ValueError("expected a standard normal base right before the NeuralODE; got another")
        return standard and self.coupling is None

    def __repr__(self) -> str:
        name = None if self.coupling is None else self.coupling.__name__
        return f"FlowMatching({name}, {self.sigma}, late={self.late}, averaged={self.averaged})"
