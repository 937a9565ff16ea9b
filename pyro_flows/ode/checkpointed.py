"""Adaptive integration that keeps one state a step and differentiates each step anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adaptive import Adaptive
from .runge_kutta import Tableau, advanced
from .solver import Derivative, State

__all__ = ["Checkpointed"]

_DORMAND_PRINCE = Tableau(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)


@dataclass(frozen=True)
class Checkpointed:
    """s(t₁) as by `Adaptive("dopri5")`, and the gradient of the very steps taken, from one kept state a step.

    Only one step's graph is alive at a time: a fraction of the memory of `Adaptive`'s plain gradient, for a
    tenth more time. No equation is solved backwards, so that nothing drifts as it does with the adjoint.
    Gradients of gradients are not available.

    Zhuang, Dvornek, Li, Tatikonda, Papademetris & Duncan, "Adaptive Checkpoint Adjoint Method for Gradient
    Estimation in Neural ODE", 2020, arXiv:2006.02493.

    Args:
        rtol: error allowed in a step, relative to the state.
        atol: error allowed in a step, absolute.
        max_steps: how many steps to take before giving up, as `Adaptive` does.

    Raises:
        ImportError: if torchdiffeq is missing.
        ValueError: if a tolerance is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.ffjord(2, solver=pf.ode.Checkpointed()))
        >>> flow().log_prob(torch.randn(10, 2)).mean().backward()
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        self._solver()

    def _solver(self) -> Adaptive:
        return Adaptive("dopri5", self.rtol, self.atol, max_steps=self.max_steps)

    def __call__(
        self, f: Derivative, state: State, start: float, end: float, tensors: Sequence[Tensor] = ()
    ) -> State:
        """Return s(end), given s(start) = `state`."""
        if not (torch.is_grad_enabled() and state[0].numel()):
            return self._solver()(f, state, start, end)
        needed = [t for t in tensors if t.requires_grad]
        moved: State = _Steps.apply(self._solver(), f, start, end, len(state), *state, *needed)
        return moved


class _Recorded:
    """A derivative that notes when torchdiffeq accepts a step."""

    def __init__(self, f: Derivative, sign: float) -> None:
        self.f, self.sign = f, sign
        self.steps: list[tuple[float, float]] = []
        self.states: list[Tensor] = []

    def __call__(self, t: Tensor, state: State) -> State:
        return self.f(t, state)

    def callback_accept_step(self, t: Tensor, state: State, step: Tensor) -> None:
        self.steps.append((float(t), self.sign * float(step)))
        self.states += state


class _Steps(torch.autograd.Function):
    """Takes steps without a graph; backwards, takes each of them again with one."""

    @staticmethod
    def forward(
        ctx: Any, solver: Adaptive, f: Derivative, start: float, end: float, count: int, *tensors: Tensor
    ) -> State:
        """Integrate, and keep the states between the steps."""
        recorded = _Recorded(f, math.copysign(1.0, end - start))
        moved = solver(recorded, tensors[:count], start, end)
        ctx.f, ctx.count, ctx.steps, ctx.length = f, count, recorded.steps, end - start
        ctx.save_for_backward(*tensors[count:], *recorded.states)
        return moved

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Take each step again with a graph, from the last to the first."""
        count, steps = ctx.count, ctx.steps
        saved = ctx.saved_tensors
        inputs = saved[: len(saved) - count * len(steps)]
        states = saved[len(inputs) :]
        totals = [torch.zeros_like(t) for t in inputs]
        if abs(sum(step for _, step in steps) - ctx.length) > 1e-6:  # the solver gave up
            totals = [t + torch.nan for t in totals]
        for i, (time, step) in reversed(list(enumerate(steps))):
            with torch.enable_grad():
                state = tuple(s.detach().requires_grad_() for s in states[i * count : (i + 1) * count])
                moved = advanced(ctx.f, state, time, step, _DORMAND_PRINCE)
                found = torch.autograd.grad(
                    moved, (*state, *inputs), slopes, allow_unused=True, materialize_grads=True
                )
            slopes = found[:count]
            totals = [total + new for total, new in zip(totals, found[count:], strict=True)]
        return (None, None, None, None, None, *slopes, *totals)
