"""An exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["WeightAverage"]


class WeightAverage:
    """θ̄ ← ρ θ̄ + (1 − ρ) θ after each step, with ρ = (1 + t) / (10 + t), at most `decay`.

    Args:
        parameters: what is averaged.
        decay: the largest ρ; with 0 there is no average, and the methods do nothing.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.values: list[torch.Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        if not self.decay:
            return
        if not self.values:  # not earlier: layers may be initialised by the first batch
            self.values = [p.detach().clone() for p in self.parameters]
        rho = min(self.decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(rho)(self.values, list(self.parameters), None)
        self.steps += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Write the average into the parameters."""
        for parameter, value in zip(self.parameters, self.values, strict=bool(self.values)):
            parameter.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Write the average into the parameters, and at the end their own values back."""
        present = [p.detach().clone() for p in self.parameters] if self.values else []
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, present, strict=bool(present)):
                    parameter.copy_(value)

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"values": self.values, "steps": self.steps}

    def load(self, state: dict[str, Any]) -> None:
        """Take in what `state` returned."""
        self.steps = state["steps"]
        self.values = [v.to(p.device) for v, p in zip(state["values"], self.parameters, strict=False)]
