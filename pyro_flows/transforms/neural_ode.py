"""Continuous normalizing flows."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from .._tracing import is_traced
from ..ode import Adaptive, Exact, Solver, Trace
from ..ode.solver import State
from ..ode.trace import probed
from ..transform import FlowTransform
from ._conditioner import context_shape_of
from .full_precision import full_precision

__all__ = ["NeuralODE", "Penalties"]


class Penalties(NamedTuple):
    """∫ |v|² dt and ∫ |J ε|² dt along each row's path, both of shape (*batch,)."""

    kinetic: Tensor
    jacobian: Tensor


class NeuralODE(FlowTransform):
    r"""y = x(1) where dx/dt = v(t, x, c) and x(0) = x; log|det dy/dx| = ∫₀¹ tr ∂v/∂x dt.

    Scoring solves the same equation from 1 to 0. Both are exact up to the solver's tolerance, and so is
    the round trip. A row with a NaN or an infinity gives NaN; it is left out of the solve, since an
    adaptive solver would take no further step with it.

    Chen, Rubanova, Bettencourt & Duvenaud, "Neural Ordinary Differential Equations", 2018,
    arXiv:1806.07366; Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, "FFJORD: Free-form Continuous
    Dynamics for Scalable Reversible Generative Models", 2019, arXiv:1810.01367.

    Args:
        field: v, a module called with t of shape () (or (*batch,) in flow matching), x of shape
            (*batch, d), and the context or None.
        input_dim: d.
        solver: a part of `pyro_flows.ode`; `Adaptive()` if None, which needs torchdiffeq.
        trace: how tr ∂v/∂x is found; `Exact()` if None. `Hutchinson()` makes log-densities random,
            for training in many dimensions; the attribute can be changed for an evaluation.
        context_dim: length of the context vector that `field` takes; not needed with
            `pyro_flows.nn.VelocityNet`, which knows it.

    Attributes:
        evaluations: how often the field was evaluated in the last solve, its adjoint's included (not
            counted in compiled code).

    Raises:
        ImportError: if the solver needs torchdiffeq and it is missing.
        ValueError: if shapes do not fit.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer = pf.transforms.NeuralODE(pf.nn.VelocityNet(3), 3, solver=pf.ode.RungeKutta(8))
        >>> y, log_det = layer.forward_and_log_det(torch.randn(10, 3))
        >>> y.shape, log_det.shape, layer.evaluations
        (torch.Size([10, 3]), torch.Size([10]), 32)
    """

    domain = codomain = constraints.real_vector
    learning_rate: ClassVar[float] = 5e-3  # see `pyro_flows.training.Settings`

    def __init__(
        self,
        field: nn.Module,
        input_dim: int,
        *,
        solver: Solver | None = None,
        trace: Trace | None = None,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        if input_dim < 1:
            raise ValueError(f"expected input_dim ≥ 1; got {input_dim}")
        self.field = field
        self.solver: Solver = Adaptive() if solver is None else solver
        self.trace: Trace = Exact() if trace is None else trace
        self.domain_shape = self.codomain_shape = Size([input_dim])
        self.context_shape = context_shape_of(field, context_dim)
        self.evaluations = 0

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and ∫₀¹ tr ∂v/∂x dt."""
        with full_precision(x):  # here the network is the map
            y, log_det, *_ = self._solve(x, context, 0.0, 1.0)
        return y, log_det

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −∫₀¹ tr ∂v/∂x dt."""
        with full_precision(y):
            x, log_det, *_ = self._solve(y, context, 1.0, 0.0)
        return x, log_det

    def inverse_with_penalties(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Penalties]:
        """Return x, its log-det, ∫₀¹ |v|² dt and ∫₀¹ |J ε|² dt with signs ε drawn for this solve.

        J is ∂v/∂x; the last is an unbiased estimate of its squared Frobenius norm along the path. Small
        penalties make for straight paths, which take fewer evaluations.

        Finlay, Jacobsen, Nurbekyan & Oberman, "How to Train Your Neural ODE: the World of Jacobian and
        Kinetic Regularization", 2020, arXiv:2002.02798.
        """
        with full_precision(y):
            x, log_det, kinetic, jacobian = self._solve(y, context, 1.0, 0.0, penalised=True)
        return x, log_det, Penalties(-kinetic, -jacobian)

    def velocity(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return v(t, x, c), of shape (*batch, d), at times t of shape () or (*batch,)."""
        v: Tensor = self.field(t, x, context)
        if v.shape[-1:] != self.domain_shape:
            raise ValueError(f"expected the field to give {self.domain_shape} a row; got {tuple(v.shape)}")
        return v.to(x.dtype)

    def _solve(
        self, x: Tensor, context: Tensor | None, start: float, end: float, *, penalised: bool = False
    ) -> State:
        self._check(x.shape, self.domain_shape, 1)
        finite = x.isfinite().all(-1, keepdim=True)
        if context is not None:
            known = context.isfinite().all(-1, keepdim=True)
            context = torch.where(known, context, 0)
            finite = finite & known
        x = torch.where(finite, x, 0)
        probe = self.trace.probe(x)
        signs = torch.rand_like(x).round().mul(2).sub(1).unsqueeze(0) if penalised else None
        self.evaluations = 0

        def derivative(t: Tensor, state: State) -> State:
            """Return the derivatives of the position, its log-det and the penalties if asked for."""
            if not is_traced():
                self.evaluations += 1
            here = state[0]
            v, trace = self.trace(self.field, t, here, context, probe)
            slope = v.to(here.dtype), trace.to(here.dtype)
            if signs is None:
                return slope
            bent = probed(self.field, t, here, signs, context)[1]
            return *slope, v.square().sum(-1), bent.square().sum((0, -1))

        scalars = [x.new_zeros(x.shape[:-1])] * (3 if penalised else 1)
        tensors = [*self.field.parameters(), *([] if context is None else [context])]
        state = self.solver(derivative, (x, *scalars), start, end, tensors)
        moved, *integrals = state
        row = finite.squeeze(-1)
        return torch.where(finite, moved, torch.nan), *(torch.where(row, s, torch.nan) for s in integrals)

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"solver={self.solver}, trace={self.trace}"
