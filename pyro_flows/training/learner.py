"""What learns from a batch: a loss, its gradient, and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..flow import Flow
from ..loop.compiling import Compiled
from .average import WeightAverage
from .likelihood import Loss
from .non_finite import first_non_finite
from .process import Process
from .settings import Settings

__all__ = ["Learner", "NonFiniteLoss"]


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite; the flow keeps its last good weights."""


class _Mean(nn.Module):
    """The mean of the rows' losses, as a module for data parallelism to wrap."""

    def __init__(self, flow: Flow, loss: Loss, compile: bool | str) -> None:
        super().__init__()
        self.flow = flow
        self.compiled: Compiled | None = None

        def mean(x: Tensor, context: Tensor | None) -> Tensor:
            return loss(flow, x, context).mean()

        self.mean: Callable[..., Tensor] = mean
        if compile:
            self.mean = self.compiled = Compiled(mean, flow, compile)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.mean(x, context)


class Learner:
    """A flow with its loss and optimiser: `gradient` looks at a batch, `step` moves the parameters.

    Args:
        flow: what is trained.
        loss: gives one loss a row.
        settings: how to train.
        process: alone, or one of many.
    """

    norm: Tensor  # of the last gradient

    def __init__(self, flow: Flow, loss: Loss, settings: Settings, process: Process) -> None:
        self.flow, self.settings, self.process = flow, settings, process
        self.parameters = [p for p in flow.parameters() if p.requires_grad]
        mean = _Mean(flow, loss, settings.compile)
        self.compiled = mean.compiled
        self.loss = process.prepare(mean)
        kind = process.device.type
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=settings.learning_rate, fused=kind in ("cpu", "cuda")
        )
        self.average = WeightAverage(self.parameters, settings.ema)

    def prepare(self, x: Tensor, context: Tensor | None) -> float:
        """Compile the loss before the first batch, where that is wanted, and return the seconds it took."""
        if self.compiled is None or self.compiled.ready:
            return 0.0
        with self._autocast():
            seconds = self.compiled.prepare(x, context)
        # All processes have to reduce the same tensors.
        self.compiled.failed = self.process.mean(float(self.compiled.failed)) > 0
        return seconds

    def gradient(self, x: Tensor, context: Tensor | None) -> float:
        """Find the loss's gradient and return the loss, over all processes.

        Raises:
            NonFiniteLoss: where one of them is; the message names what made it so.
        """
        self.optimizer.zero_grad()
        with self._autocast():
            loss = self.loss(x, context)
        loss.backward()
        self.norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        value = self.process.mean(float(loss.detach()))
        if not (math.isfinite(value) and math.isfinite(self.norm)):
            self.flow.eval()
            with self._autocast():
                raise NonFiniteLoss(first_non_finite(self.flow, x, context))
        return value

    def step(self, rate: float) -> None:
        """Move the parameters along the clipped gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip, self.norm)
        self.optimizer.step()
        self.average.update()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "no":
            return nullcontext()
        return torch.autocast(self.process.device.type, torch.bfloat16)
