"""What a solver is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Derivative", "Solver", "State"]

State = tuple[Tensor, ...]
Derivative = Callable[[Tensor, State], State]


class Solver(Protocol):
    """Integrates ds/dt = f(t, s) over a tuple s of tensors."""

    def __call__(
        self, f: Derivative, state: State, start: float, end: float, tensors: Sequence[Tensor] = ()
    ) -> State:
        """Return s(end), given s(start) = `state`; `tensors` are all that f depends on but t and s."""
