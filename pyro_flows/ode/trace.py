"""The trace of a velocity's Jacobian, exactly or in expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Exact", "Hutchinson", "Trace", "probed"]


class Trace(Protocol):
    """Gives v(t, x) and tr ∂v/∂x."""

    def probe(self, x: Tensor) -> Tensor | None:
        """Draw the noise that one whole solve uses, or None."""

    def __call__(
        self, field: Any, t: Tensor, x: Tensor, context: Tensor | None, probe: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return v of shape (*batch, d) and the trace of shape (*batch,)."""


def probed(
    field: Any, t: Tensor, x: Tensor, probes: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return v(t, x) and, for each of the `probes` ε of shape (k, *x.shape), J ε or Jᵀ ε with J = ∂v/∂x.

    J ε by the field's own method ``pushforward(t, x, probes, context)`` if it has one, else Jᵀ ε by
    `torch.func.vjp`. For the trace and for the norm of J the one serves as well as the other.
    """
    if hasattr(field, "pushforward"):
        found: tuple[Tensor, Tensor] = field.pushforward(t, x, probes, context)
        return found
    v, pull = torch.func.vjp(lambda x: field(t, x, context), x)[:2]
    return v, torch.stack([pull(probe)[0] for probe in probes.unbind()])


@dataclass(frozen=True)
class Exact:
    """tr ∂v/∂x as the sum of the Jacobian's diagonal.

    A field with a method ``forward_and_trace(t, x, context)`` is asked for it (`pyro_flows.nn.VelocityNet`
    of one or two hidden layers has it in closed form, at a cost that does not grow with d); another is
    differentiated d times.
    """

    def probe(self, x: Tensor) -> None:
        """Draw nothing."""

    def __call__(
        self, field: Any, t: Tensor, x: Tensor, context: Tensor | None, probe: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return v of shape (*batch, d) and the trace of shape (*batch,)."""
        if hasattr(field, "forward_and_trace"):
            found: tuple[Tensor, Tensor] = field.forward_and_trace(t, x, context)
            return found
        directions = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        directions = directions.reshape(-1, *[1] * (x.dim() - 1), x.shape[-1])
        v, pulled = probed(field, t, x, directions.expand(-1, *x.shape), context)
        return v, pulled.diagonal(dim1=0, dim2=-1).sum(-1)


@dataclass(frozen=True)
class Hutchinson:
    """ε·(∂v/∂x) ε with signs ε, the mean over `probes` of them: unbiased, for any dimension.

    The noise is drawn once a solve, as the solver needs one function all along.

    Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, "FFJORD: Free-form Continuous Dynamics for Scalable
    Reversible Generative Models", 2019, arXiv:1810.01367, section 3.1.

    Args:
        probes: how many ε.

    Raises:
        ValueError: if `probes` < 1.
    """

    probes: int = 1

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ValueError(f"expected probes ≥ 1; got {self.probes}")

    def probe(self, x: Tensor) -> Tensor:
        """Draw signs of shape (probes, *x.shape) from torch's global generator."""
        return torch.rand(self.probes, *x.shape, dtype=x.dtype, device=x.device).round() * 2 - 1

    def __call__(
        self, field: Any, t: Tensor, x: Tensor, context: Tensor | None, probe: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return v of shape (*batch, d) and the trace's estimate of shape (*batch,)."""
        if probe is None:
            raise ValueError("expected the noise of `probe`; got none")
        v, pulled = probed(field, t, x, probe, context)
        return v, (probe * pulled).sum(-1).mean(0)
