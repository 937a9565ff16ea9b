"""Maximum likelihood."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import torch
from torch import Tensor, nn

from ..flow import Flow
from ..nn import RunningMoments
from . import checkpoint as files
from .blame import first_non_finite
from .data import Source, source_of, split
from .process import process_of
from .progress import progress_bar
from .random import random_state, set_random_state
from .settings import History, Settings
from .statistics import recompute

__all__ = ["NonFiniteLoss", "fit"]

State = dict[str, Tensor]


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite; the flow keeps its last good weights."""


class _Loss(nn.Module):
    """The mean negative log-density, as a module for data parallelism to wrap."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self.flow(context).log_prob(x).mean()


def fit(
    flow: Flow,
    data: Any,
    *,
    context: Any = None,
    validation: Any = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> History:
    """Fit a flow to data by maximum likelihood: minimise −mean log p(data) with Adam.

    A tenth of the rows is held out; the weights that score them best are restored at the end, and
    the flow is left in evaluation mode. Running statistics are recomputed over the training data
    before each validation. Works under `torchrun` and `accelerate launch` as it is.

    Args:
        flow: a `Flow`, or a module whose call gives a distribution; trained in place, on the device
            and in the dtype of its parameters.
        data: array or tensor of shape (rows, *event), or a map-style dataset that gives rows x, or
            pairs (x, context).
        context: array or tensor of shape (rows, *context_shape), for a conditional flow.
        validation: fraction of the rows held out, or data of their own, (data, context) for a
            conditional flow; 0 for none, which keeps the last weights.
        checkpoint: file that the run's state is written to and, where it exists, resumed from: the
            resumed run ends with the same bits as one that was never interrupted.
        **settings: fields of `Settings`: epochs, batch_size, learning_rate, schedule, clip,
            patience, precision, seed, progress, checkpoint_every.

    Returns:
        The losses by epoch, in nats.

    Raises:
        NonFiniteLoss: where the loss becomes NaN or infinite; the error names the first layer that
            made it.
        TypeError, ValueError: where an argument is not as above.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.real_nvp(2, depth=2))
        >>> history = pf.fit(flow, torch.randn(500, 2), epochs=3, progress=False)
        >>> len(history.train_loss)
        3
    """
    run = _Run(flow, data, context, validation, checkpoint, Settings(**settings))
    device = next((p.device for p in flow.parameters()), torch.device("cpu"))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(run.settings.seed)
        return run()


class _Run:
    """One run of `fit`; what must survive a kill is what `_state` lists."""

    def __init__(
        self, flow: Flow, data: Any, context: Any, validation: Any, path: Any, settings: Settings
    ) -> None:
        if not isinstance(flow, Flow):
            raise TypeError(f"expected a Flow; got {type(flow).__name__}")
        self.flow, self.settings, self.path = flow, settings, path
        self.parameters = [p for p in flow.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("expected a flow with parameters to train; got none")
        source = source_of(data, context, like=flow)
        self.train, self.val = split(source, validation, like=flow, seed=settings.seed)
        self.batch_size = min(settings.batch_size, len(self.train))
        self.steps_per_epoch = len(self.train) // self.batch_size
        self.epochs = settings.epochs or max(10, math.ceil(8000 / self.steps_per_epoch))
        self.patience = (settings.patience or max(10, self.epochs // 4)) if self.val else self.epochs
        device = self.parameters[0].device
        self.process = process_of(settings.precision, device)
        if self.batch_size % self.process.world:
            raise ValueError(
                f"expected a batch_size divisible by {self.process.world} processes; got {self.batch_size}"
            )
        self.loss = self.process.prepare(_Loss(flow))
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=settings.learning_rate, fused=device.type in ("cpu", "cuda")
        )
        self.history = History()
        self.best: State | None = None
        self.epoch = self.step = 0  # the step within the epoch
        self.total = 0.0  # of the losses in this epoch
        self.done = False

    def __call__(self) -> History:
        if self.path is not None and os.path.exists(self.path):
            self._load()
        self.started = time.perf_counter() - self.history.seconds
        self.saved = time.perf_counter()
        bar = progress_bar(self.epochs, self.epoch, shown=self.settings.progress and self.process.rank == 0)
        while not self.done:
            self.flow.train()
            for x, context in self.train.batches(self._order()[self.step :]):
                self._step(x, context)
                if time.perf_counter() - self.saved >= self.settings.checkpoint_every:
                    self._save()
            self._end_epoch()
            bar.update(1)
            bar.set_postfix_str(self._summary())
        bar.close()
        self.flow.eval()
        return self.history

    def _order(self) -> list[Tensor]:
        """Return this process's rows of each step in the epoch; depends on seed and epoch alone."""
        generator = torch.Generator().manual_seed(self.settings.seed + 1_000_003 * (self.epoch + 1))
        rows = torch.randperm(len(self.train), generator=generator)
        batches = rows[: self.steps_per_epoch * self.batch_size].split(self.batch_size)
        return [batch[self.process.rank :: self.process.world] for batch in batches]

    def _step(self, x: Tensor, context: Tensor | None) -> None:
        progress = self.history.steps / (self.epochs * self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.settings.schedule(progress)
        self.optimizer.zero_grad()
        with self.process.autocast():
            loss = self.loss(x, context)
        self.process.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        value = float(self.process.mean(loss.detach()))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._give_up(x, context)
        self.optimizer.step()
        self.total += value
        self.step += 1
        self.history.steps += 1

    def _give_up(self, x: Tensor, context: Tensor | None) -> None:
        self.flow.eval()
        culprit = first_non_finite(self.flow, x, context)
        if self.best is not None:
            self.flow.load_state_dict(self.best)
        raise NonFiniteLoss(
            f"the loss or its gradient became non-finite at step {self.history.steps}; first in {culprit}. "
            "The flow keeps its last good weights"
        )

    def _end_epoch(self) -> None:
        self.history.train_loss.append(self.total / self.steps_per_epoch)
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        if self.val is not None:
            self._validate(self.val)
        self.done = self.epoch >= self.epochs or self.epoch - 1 - self.history.best_epoch >= self.patience
        if self.done:
            if self.best is not None:
                self.flow.load_state_dict(self.best)
            recompute(self.flow.transform, self.train)
        if self.done or time.perf_counter() - self.saved >= self.settings.checkpoint_every:
            self._save()

    def _validate(self, rows: Source) -> None:
        moments = [m for m in self.flow.modules() if isinstance(m, RunningMoments)]
        running = [{name: b.clone() for name, b in m.named_buffers()} for m in moments]
        recompute(self.flow.transform, self.train, at_most=20_000)
        self.flow.eval()
        total = 0.0
        with torch.no_grad():
            for x, context in rows.batches(torch.arange(len(rows)).split(4096)):
                total -= float(self.flow(context).log_prob(x).double().sum())
        loss = total / len(rows)
        if math.isfinite(loss) and loss < self.history.best_loss:
            self.history.best_epoch = self.epoch - 1
            self.best = {name: value.clone() for name, value in self.flow.state_dict().items()}
        self.history.val_loss.append(loss)
        for m, state in zip(moments, running, strict=True):
            m.load_state_dict(state)

    def _summary(self) -> str:
        text = f"train {self.history.train_loss[-1]:.4f}"
        if self.history.val_loss:
            text += f", validation {self.history.val_loss[-1]:.4f}, best {self.history.best_loss:.4f} nats"
        return text

    def _identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one before."""
        settings = vars(self.settings) | {"schedule": None, "progress": None, "checkpoint_every": None}
        shapes = {name: list(value.shape) for name, value in self.flow.state_dict().items()}
        return {"settings": settings, "rows": len(self.train), "shapes": shapes}

    def _save(self) -> None:
        self.saved = time.perf_counter()
        self.history.seconds = self.saved - self.started
        if self.path is None or self.process.rank != 0:
            return
        state = {
            "kind": "training run",
            "identity": self._identity(),
            "flow": self.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": vars(self.history),
            "best": self.best,
            "progress": (self.epoch, self.step, self.total, self.done),
            "random": random_state(),
        }
        files.save(state, self.path)

    def _load(self) -> None:
        state = files.load(self.path, kind="training run")
        mine = self._identity()
        for name, value in state["identity"].items():
            if value != mine[name]:
                raise ValueError(f"{self.path} is of another run: expected {name} {value}; got {mine[name]}")
        self.flow.load_state_dict(state["flow"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])
        self.best = state["best"]
        self.epoch, self.step, self.total, self.done = state["progress"]
        set_random_state(state["random"])
