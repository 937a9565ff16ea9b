"""log det(I + J) of a contraction's Jacobian J, exactly or in expectation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ..nn.lipschitz import Contraction

__all__ = ["Determinant", "LogDet", "Roulette"]

_Linear = Callable[[Tensor], Tensor]
_MOST_TERMS = 2000


class LogDet(Protocol):
    """How a residual block finds log det(I + J), and solves with I + J."""

    def __call__(self, g: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x) and log det(I + J) of shape (*batch,)."""

    def solve(self, g: Contraction, slopes: list[Tensor], r: Tensor) -> Tensor:
        """Return (I + J)⁻¹ r."""


def _with_identity(jacobian: Tensor) -> Tensor:
    return jacobian + torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)


@dataclass(frozen=True)
class Determinant:
    """log det(I + J) of the whole matrix: exact, for few dimensions."""

    def __call__(self, g: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x) and log det(I + J) of shape (*batch,)."""
        value, slopes = g.linearised(x)
        matrix = _with_identity(g.jacobian(slopes))
        if x.shape[-1] == 1:
            return value, matrix[..., 0, 0].log()
        if x.shape[-1] == 2:  # five times as fast as LU
            (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
            return value, (a * d - b * c).log()
        return value, torch.linalg.slogdet(matrix).logabsdet

    def solve(self, g: Contraction, slopes: list[Tensor], r: Tensor) -> Tensor:
        """Return (I + J)⁻¹ r."""
        matrix = _with_identity(g.jacobian(slopes))
        return torch.linalg.solve(matrix, r.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class Roulette:
    """Σ (−1)^(k+1) ε·J^k ε / (k P(N ≥ k)) over k ≤ N: unbiased for a random number N of terms and signs ε.

    N is `terms` and a geometric number more. The gradient comes from one product with J, whatever N:
    ∂ log det(I + J) = E[Σ (−1)^k ε·J^k (∂J) ε / P(N ≥ k)] over 0 ≤ k ≤ N.

    Chen, Behrmann, Duvenaud & Jacobsen, "Residual Flows for Invertible Generative Modeling", 2019,
    arXiv:1906.02735, sections 3.1 and 3.2.

    Args:
        terms: how many terms are always summed; more of them make for less noise.
        stop: probability of ending after each further term.

    Raises:
        ValueError: if an argument is out of its range.
    """

    terms: int = 4
    stop: float = 0.5

    def __post_init__(self) -> None:
        if self.terms < 1:
            raise ValueError(f"expected terms ≥ 1; got {self.terms}")
        if not 0 < self.stop < 1:
            raise ValueError(f"expected a probability of stopping in (0, 1); got {self.stop}")

    def __call__(self, g: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x) and the estimate of log det(I + J), of shape (*batch,)."""
        value, slopes = g.linearised(x)
        signs = torch.rand_like(x).round() * 2 - 1
        with torch.no_grad():
            fixed, fixed_slopes = g.detach(), [slope.detach() for slope in slopes]
            more = int(torch.empty(()).geometric_(self.stop)) - 1
            power = adjoint = signs
            total = x.new_zeros(x.shape[:-1])
            for k in range(1, self.terms + more + 1):
                power = fixed.pull(fixed_slopes, power)
                weight = (-1) ** k * (1 - self.stop) ** -max(0, k - self.terms)
                total = total - weight / k * (power * signs).sum(-1)
                adjoint = adjoint + weight * power
        carrier = (adjoint * g.push(slopes, signs)).sum(-1)  # has the gradient, not the value
        return value, carrier + (total - carrier).detach()

    def solve(self, g: Contraction, slopes: list[Tensor], r: Tensor) -> Tensor:
        """Return (I + J)⁻¹ r by its power series, and its gradient by that of the transpose."""
        solved: Tensor = _Solved.apply(r, partial(g.push, slopes), partial(g.pull, slopes))
        return solved


class _Solved(torch.autograd.Function):
    """(I + J)⁻¹ r, given how J and Jᵀ apply."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, push: _Linear, pull: _Linear) -> Tensor:
        ctx.pull = pull
        return _series(push, r)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        return _series(ctx.pull, cotangents[0]), None, None


def _series(apply: _Linear, r: Tensor) -> Tensor:
    """Return Σ (−J)^k r, until further terms are below the precision."""
    if not r.numel():
        return r.clone()
    total = power = r
    for _ in range(_MOST_TERMS):
        power = -apply(power)
        total = total + power
        rest, whole = (part.nan_to_num(0, 0, 0).abs().amax() for part in (power, total))
        if r.is_meta or not bool(rest > torch.finfo(r.dtype).eps * whole):
            return total
    raise RuntimeError(
        f"expected the series of (I + J)⁻¹ to end within {_MOST_TERMS} terms; the last: {float(rest):.1g}: "
        "with a smaller coefficient the net contracts faster"
    )
