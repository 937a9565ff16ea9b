"""What learns from a batch: a loss, its gradient, and the optimiser's step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..flow import Flow
from ..loop.clipped_step import ClippedStep, adam
from ..loop.compiling import Compiled
from .average import WeightAverage
from .likelihood import Loss, row_losses
from .non_finite import first_non_finite
from .process import Process
from .settings import Settings

__all__ = ["Learner"]


class _Mean(nn.Module):
    """The mean of the rows' losses, as a module for data parallelism to wrap."""

    def __init__(self, flow: Flow, loss: Loss, compile: bool | str) -> None:
        super().__init__()
        self.flow = flow
        self.compiled: Compiled | None = None

        def mean(x: Tensor, context: Tensor | None, weights: Tensor | None) -> Tensor:
            losses = row_losses(loss, flow, x, context)
            return losses.mean() if weights is None else (weights * losses).mean()

        self.mean: Callable[..., Tensor] = mean
        if compile:
            self.mean = self.compiled = Compiled(mean, flow, compile)

    def forward(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> Tensor:
        return self.mean(x, context, weights)


class Learner:
    """A flow with its loss and optimiser: `gradient` looks at a batch, `step` moves the parameters.

    Neither reads anything back from the device. After a loss or gradient that is NaN or infinite no step
    moves anything any more: `skipped` counts those, and `why` repeats the first to find what made it so.

    Args:
        flow: what is trained.
        loss: gives one loss a row.
        settings: how to train.
        process: alone, or one of many.
    """

    def __init__(self, flow: Flow, loss: Loss, settings: Settings, process: Process) -> None:
        self.flow, self.settings, self.process = flow, settings, process
        mean = _Mean(flow, loss, settings.compile)
        self.compiled = mean.compiled
        self.loss = process.prepare(mean)
        parameters: list[Any] = [p for p in flow.parameters() if p.requires_grad]
        optimizer = _optimizer(parameters, settings, settings.rate_for(loss, flow.transform))
        self.clipped_step = ClippedStep(optimizer, clip=settings.clip, halt=True)
        self.average = WeightAverage(parameters, settings.ema)

    def prepare(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> float:
        """Compile the loss before the first batch, if that is wanted, and return the seconds it took."""
        if self.compiled is None or self.compiled.ready:
            return 0.0
        with self._autocast():
            seconds = self.compiled.prepare(x, context, weights)
        # All processes have to reduce the same tensors.
        failed = torch.tensor(float(self.compiled.failed), device=self.process.device)
        self.compiled.failed = bool(self.process.mean(failed) > 0)
        return seconds

    def gradient(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> Tensor:
        """Find the loss's gradient and return the loss, over all processes."""
        self.clipped_step.optimizer.zero_grad()
        with self._autocast():
            loss = self.loss(x, context, weights)
        loss.backward()
        return self.process.mean(loss.detach())

    def step(self, factor: float, loss: Tensor) -> None:
        """Move the parameters along the clipped gradient, at `factor` times the learning rate."""
        self.clipped_step(factor, loss)
        self.average.update()

    @property
    def skipped(self) -> Tensor:
        """How many steps were skipped: the first with a non-finite loss or gradient and all after it."""
        return self.clipped_step.skipped

    def why(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> str:
        """Name what makes the loss or gradient of this batch non-finite."""
        self.gradient(x, context, weights)
        self.flow.eval()
        with self._autocast():
            return first_non_finite(self.flow, x, context)

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the flow."""
        return {"step": self.clipped_step.state(), "average": self.average.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take in what `state` returned."""
        self.clipped_step.load(state["step"])
        self.average.load(state["average"])

    def identity(self) -> dict[str, Any]:
        """Return what tells an optimiser of the user's own from others."""
        optimizer = self.clipped_step.optimizer
        if self.settings.optimizer is None:
            return {}
        return {"optimizer": f"{type(optimizer).__name__}({optimizer.defaults})"}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "no":
            return nullcontext()
        return torch.autocast(self.process.device.type, torch.bfloat16)


def _optimizer(parameters: list[Tensor], settings: Settings, rate: float) -> Optimizer:
    if settings.optimizer is None:
        return adam(parameters, rate=rate, weight_decay=settings.weight_decay)
    optimizer = settings.optimizer(parameters)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"expected `optimizer` to return a torch optimiser; got {type(optimizer).__name__}")
    return optimizer
