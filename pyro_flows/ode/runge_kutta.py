"""Integration in equal steps, in plain operations that compile, batch and differentiate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .solver import Derivative, State

__all__ = ["RungeKutta", "Tableau", "advanced"]


class Tableau(NamedTuple):
    """Each stage's time, how the stages before it enter it, and how all of them enter the step."""

    times: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


_METHODS = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}


def _moved(state: State, slopes: Sequence[State], weights: Sequence[float], step: float) -> State:
    """Return s + h Σ w_j k_j."""
    moved = list(state)
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            moved = [part.add(k, alpha=weight * step) for part, k in zip(moved, slope, strict=True)]
    return tuple(moved)


def advanced(f: Derivative, state: State, start: float, step: float, tableau: Tableau) -> State:
    """Return s(start + step), given s(start) = `state`, by one step of the method."""
    slopes: list[State] = []
    for time, stage in zip(tableau.times, tableau.stages, strict=True):
        t = state[0].new_full((), start + time * step)
        slopes.append(f(t, _moved(state, slopes, stage, step)))
    return _moved(state, slopes, tableau.weights, step)


@dataclass(frozen=True)
class RungeKutta:
    """s ← s + h Σ w_j k_j, `steps` times: an explicit Runge–Kutta method in equal steps.

    The same operations for any input, so that it runs under `torch.compile` and `torch.func` and no row
    depends on another; its error is whatever it is, of order hᵖ with p = 1 for "euler", 2 for "midpoint"
    and 4 for "rk4".

    Args:
        steps: number of steps.
        method: "euler", "midpoint" or "rk4", of 1, 2 and 4 evaluations a step.

    Raises:
        ValueError: if `steps` < 1 or the method is another.

    Example:
        >>> import torch, pyro_flows as pf
        >>> (y,) = pf.ode.RungeKutta(20)(lambda t, s: (s[0],), (torch.ones(1),), 0.0, 1.0)
        >>> bool((y - 2.71828).abs() < 1e-4)
        True
    """

    steps: int = 16
    method: str = "rk4"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected steps ≥ 1; got {self.steps}")
        if self.method not in _METHODS:
            raise ValueError(f"expected one of {', '.join(_METHODS)}; got {self.method!r}")

    def __call__(
        self, f: Derivative, state: State, start: float, end: float, tensors: Sequence[Tensor] = ()
    ) -> State:
        """Return s(end), given s(start) = `state`."""
        step = (end - start) / self.steps
        for i in range(self.steps):
            state = advanced(f, state, start + i * step, step, _METHODS[self.method])
        return state
