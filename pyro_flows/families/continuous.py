"""Continuous flows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..nn import VelocityNet
from ..nn.mlp import Activation
from ..ode import Solver, Trace
from ..transforms import NeuralODE

__all__ = ["ffjord"]

_GAIN, _SPREAD = 3.0, 3.0


def ffjord(
    input_dim: int,
    *,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.SiLU,
    solver: Solver | None = None,
    trace: Trace | None = None,
) -> NeuralODE:
    """dy/dt = v(t, y) from t = 0 to 1, with v a multilayer perceptron: base → data, event_dim 1.

    Train it by maximum likelihood, or without solving the equation by `pyro_flows.training.FlowMatching`. The
    activation, how the net starts and its gain were chosen by the KL to two moons (benchmarks/README.md).

    Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, "FFJORD: Free-form Continuous Dynamics for Scalable
    Reversible Generative Models", 2019, arXiv:1810.01367.

    Args:
        input_dim: length of the data vector.
        hidden: widths of the net's hidden layers. With one or two, the exact trace is cheap in any dimension.
            Flow matching needs no trace and gains from a third: KL to two moons 0.009 in place of 0.024.
        context_dim: length of the context vector, 0 for none.
        activation: the net's nonlinearity, a smooth one.
        solver: a part of `pyro_flows.ode`; `Adaptive()` if None, which needs torchdiffeq. `RungeKutta(8)` is
            two to three times as fast, but a flow trained long through few steps learns to profit from
            their error; `pyro_flows.fit` warns if it did.
        trace: `pyro_flows.ode.Exact()` if None, or `Hutchinson()`.

    Raises:
        ImportError: if the solver needs torchdiffeq and it is missing.
        ValueError: if `input_dim` < 1 or `hidden` is empty.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.ffjord(2, hidden=(32, 32)))
        >>> flow().log_prob(torch.randn(10, 2)).shape
        torch.Size([10])
    """
    field = VelocityNet(
        input_dim, hidden, context_dim=context_dim, activation=activation, gain=_GAIN, spread=_SPREAD
    )
    return NeuralODE(field, input_dim, solver=solver, trace=trace)
