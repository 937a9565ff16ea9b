"""Integration by torchdiffeq, in steps as long as a tolerance allows."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .solver import Derivative, State

__all__ = ["Adaptive"]

_ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")


def _torchdiffeq() -> ModuleType:
    try:
        return importlib.import_module("torchdiffeq")
    except ImportError as error:
        raise ImportError(
            "adaptive solvers need torchdiffeq: pip install 'pyro-flows[continuous]', "
            "or take pyro_flows.ode.RungeKutta"
        ) from error


@dataclass(frozen=True)
class Adaptive:
    """s(t₁) to a tolerance, by a solver of torchdiffeq.

    All rows of a batch share each step, whose length the root mean square of their errors sets: what a
    row gets depends on the others, within the tolerance. If the solver gives up, as it does on
    weights that are NaN, it warns and returns NaN. torchdiffeq writes in place, so that `torch.compile`
    cannot take it: `RungeKutta` compiles.

    Chen, Rubanova, Bettencourt & Duvenaud, "Neural Ordinary Differential Equations", 2018,
    arXiv:1806.07366; Kidger, Chen & Lyons, "“Hey, that's not an ODE”: Faster ODE Adjoints via Seminorms",
    2021, arXiv:2009.09457.

    Args:
        method: any of torchdiffeq's: "dopri5", "dopri8", "bosh3", …, or a fixed one such as "rk4" with a
            ``step_size`` in `options`.
        rtol: error allowed in a step, relative to the state.
        atol: error allowed in a step, absolute.
        adjoint: solve a second equation backwards for the gradient, which takes the same memory for any
            number of steps, two to four times as long, and gives the gradient to the tolerance only. If
            the flow contracts strongly, solving backwards loses it, above all in single precision.
        max_steps: how many steps to take before giving up.
        options: what else torchdiffeq's solver takes.

    Raises:
        ImportError: if torchdiffeq is missing.
        ValueError: if a tolerance is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> (y,) = pf.ode.Adaptive()(lambda t, s: (s[0],), (torch.ones(1),), 0.0, 1.0)
        >>> bool((y - 2.71828).abs() < 1e-4)
        True
    """

    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    adjoint: bool = False
    max_steps: int = 10_000
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} > 0; got {getattr(self, name)}")
        _torchdiffeq()

    def __call__(
        self, f: Derivative, state: State, start: float, end: float, tensors: Sequence[Tensor] = ()
    ) -> State:
        """Return s(end), given s(start) = `state`."""
        if not state[0].numel():  # no row, no error to go by
            return state
        library = _torchdiffeq()
        times = torch.tensor([start, end], dtype=torch.float64, device=state[0].device)
        options, backwards = dict(self.options), {}
        if self.method in _ADAPTIVE:
            # The last step ends where the solution is wanted: f need not be known beyond.
            options = {"max_num_steps": self.max_steps, "step_t": times} | options
            # Errors of the parameters' gradients, which nothing feeds on, do not shorten the steps.
            backwards = options | {"norm": "seminorm"}
        settings: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "method": self.method}
        try:
            if self.adjoint:
                settings["adjoint_params"] = tuple(t for t in tensors if t.requires_grad)
                settings["adjoint_options"] = backwards or None
                solution = library.odeint_adjoint(f, state, times, options=options, **settings)
            else:
                solution = library.odeint(f, state, times, options=options, **settings)
        except AssertionError as error:
            warnings.warn(f"torchdiffeq gave up: {str(error)[:100]}", stacklevel=2)
            slopes = f(times[0].to(state[0].dtype), state)  # so that a gradient reaches what f depends on
            return tuple(part + torch.nan * slope for part, slope in zip(state, slopes, strict=True))
        return tuple(part[-1] for part in solution)
