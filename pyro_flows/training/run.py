"""One run of `fit`: its loop, its checkpoints and what it keeps."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import torch
from torch import Tensor

from ..flow import Flow
from ..loop import checkpoint as files
from ..loop.generators import seed_generators
from ..loop.progress import progress_bar
from .data import Source, rows_at_once, source_of, split
from .learner import Learner, NonFiniteLoss
from .likelihood import Loss, negative_log_likelihood
from .process import process_of
from .scale import warn_of_scale
from .settings import History, Settings
from .statistics import recompute, restored_statistics

__all__ = ["Run"]

State = dict[str, Tensor]

STATISTICS_ROWS, STATISTICS_IMAGES = 20_000, 2_000  # each pixel of an image counts


class Run:
    """One run; what must survive a kill is what `_save` writes."""

    def __init__(
        self,
        flow: Flow,
        data: Any,
        context: Any,
        loss: Loss,
        validation: Any,
        path: Any,
        settings: Settings,
    ) -> None:
        self.flow, self.row_loss, self.settings, self.path = flow, loss, settings, path
        parameters = [p for p in flow.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("expected a flow with parameters to train; got none")
        self.process = process_of(parameters[0].device)
        self.device = self.process.device
        if self.device.type == "cuda":
            flow.to(self.device)  # of several processes, each has a GPU of its own
        source = source_of(data, context, like=flow, finite=True)
        self.train, self.val = split(source, validation, like=flow, seed=settings.seed)
        self.batch_size = min(settings.batch_size, len(self.train))
        if self.batch_size % self.process.world:
            raise ValueError(
                f"expected a batch_size divisible by {self.process.world} processes; got {self.batch_size}"
            )
        self.steps_per_epoch = len(self.train) // self.batch_size
        self.epochs = settings.epochs or max(10, math.ceil(8000 / self.steps_per_epoch))
        self.patience = (settings.patience or max(10, self.epochs // 4)) if self.val else self.epochs
        self.learner = Learner(flow, loss, settings, self.process)
        transform = flow.transform
        whole = transform.codomain.is_discrete and loss is negative_log_likelihood
        shape = transform.codomain_shape
        self.history = History(dims=shape.numel() if whole and shape is not None else 0)
        self.statistics_rows = STATISTICS_IMAGES if transform.codomain.event_dim == 3 else STATISTICS_ROWS
        self.kept = self._weights()  # the best, or before the first validation some that gave a finite loss
        self.epoch = self.step = 0  # the step within the epoch
        self.total = 0.0  # of the losses in this epoch
        self.done = False

    def __call__(self) -> History:
        """Resume, train, leave the flow with its best weights and return the losses."""
        self.started = time.perf_counter()
        self._load()
        shown = self.settings.progress and self.process.rank == 0
        bar = progress_bar(self.epochs, self.epoch, shown=shown)
        try:
            while not self.done:
                self._train_epoch()
                self._end_epoch()
                bar.update(1)
                bar.set_postfix_str(self._summary())
        finally:
            bar.close()
            self.flow.eval()
        return self.history

    def _train_epoch(self) -> None:
        self.flow.train()
        batches = self.train.batches(self._order()[self.step :])
        while self.step < self.steps_per_epoch:
            self._seed(0, rank=self.process.rank)
            self._step(*next(batches))
            if self._is_due():
                self._save()

    def _seed(self, use: int, *, rank: int) -> None:
        key = (self.settings.seed, self.history.steps, rank, use)
        seed_generators(*key, device=self.device)

    def _order(self) -> list[Tensor]:
        """Return this process's rows of each step in the epoch; depends on seed and epoch alone."""
        generator = torch.Generator().manual_seed(self.settings.seed + 1_000_003 * (self.epoch + 1))
        rows = torch.randperm(len(self.train), generator=generator)
        batches = rows[: self.steps_per_epoch * self.batch_size].split(self.batch_size)
        return [batch[self.process.rank :: self.process.world] for batch in batches]

    def _step(self, x: Tensor, context: Tensor | None) -> None:
        if self.settings.augment is not None:
            x = self.settings.augment(x)
        self.history.compile_seconds += self.learner.prepare(x, context)
        try:
            value = self.learner.gradient(x, context)
        except NonFiniteLoss as error:
            self.flow.load_state_dict(self.kept)
            raise NonFiniteLoss(
                f"the loss or its gradient became non-finite at step {self.history.steps}; first in {error}. "
                "The flow keeps its last good weights; a smaller learning_rate or clip may help"
            ) from None
        if self.step == 0 and self.history.best_epoch < 0:
            self.kept = self._weights()
        if self.history.steps == 0 and self.process.rank == 0:
            warn_of_scale(self.flow, x, context)
        progress = self.history.steps / (self.epochs * self.steps_per_epoch)
        self.learner.step(self.settings.learning_rate * self.settings.schedule(progress))
        self.total += value
        self.step += 1
        self.history.steps += 1

    def _weights(self) -> State:
        return {name: value.clone() for name, value in self.flow.state_dict().items()}

    def _end_epoch(self) -> None:
        self.history.train_loss.append(self.total / self.steps_per_epoch)
        self._seed(1, rank=0)  # all processes recompute the same statistics
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        if self.val is not None:
            with self.learner.average.applied(), restored_statistics(self.flow):
                self._validate(self.val)
        self.done = self.epoch >= self.epochs or self.epoch - 1 - self.history.best_epoch >= self.patience
        if self.done:
            if self.history.best_epoch >= 0:
                self.flow.load_state_dict(self.kept)
            else:
                self.learner.average.apply()
                self._recompute()
        if self.done or self._is_due():
            self._save()

    def _validate(self, rows: Source) -> None:
        self._recompute()
        self.flow.eval()
        # The same noise in each epoch, so that losses which draw some can be compared.
        seed_generators(self.settings.seed, self.process.rank, device=self.device)
        mine = torch.arange(self.process.rank, len(rows), self.process.world)
        total = 0.0
        with torch.no_grad():
            for x, context in rows.batches(mine.split(rows_at_once(self.flow.transform))):
                total += float(self.row_loss(self.flow, x, context).double().sum())
        loss = self.process.mean(total) * self.process.world / len(rows)
        if math.isfinite(loss) and loss < self.history.best_loss:
            self.history.best_epoch = self.epoch - 1
            self.kept = self._weights()
        self.history.val_loss.append(loss)

    def _recompute(self) -> None:
        recompute(self.flow.transform, self.train, at_most=self.statistics_rows)

    def _summary(self) -> str:
        history = self.history
        losses = {"train": history.train_loss[-1:], "validation": history.val_loss[-1:]}
        if history.val_loss:
            losses["best"] = [history.best_loss]
        shown = history.bits_per_dim if history.dims else float
        text = ", ".join(f"{name} {shown(loss):.4f}" for name, found in losses.items() for loss in found)
        return f"{text} {'bits/dim' if history.dims else 'nats'}"

    def _identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one before."""
        told = vars(self.settings) | {"schedule": [self.settings.schedule(i / 4) for i in range(5)]}
        for name in ("progress", "checkpoint_every"):
            del told[name]
        told["augment"] = getattr(told["augment"], "__qualname__", repr(told["augment"]))
        rows = {"training rows": len(self.train), "validation rows": len(self.val or ())}
        shapes = {f"{name} of shape": list(value.shape) for name, value in self.flow.state_dict().items()}
        told["loss"] = getattr(self.row_loss, "__qualname__", repr(self.row_loss))
        return told | rows | {"data with the checksum": self.train.checksum()} | shapes

    def _is_due(self) -> bool:
        return time.perf_counter() - self.saved >= self.settings.checkpoint_every

    def _save(self) -> None:
        self.saved = time.perf_counter()
        self.history.seconds = self.saved - self.started
        if self.path is None or self.process.rank != 0:
            return
        state = {
            "kind": "training run",
            "identity": self._identity(),
            "flow": self.flow.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "history": vars(self.history),
            "kept": self.kept,
            "average": self.learner.average.state(),
            "progress": (self.epoch, self.step, self.total, self.done),
        }
        files.save(state, self.path)

    def _load(self) -> None:
        state = None
        if self.process.rank == 0 and self.path is not None and os.path.exists(self.path):
            state = files.load(self.path, kind="training run")
        state = self.process.of_first(state)  # no other process need see the file
        if state is None:
            self._save()
            return
        theirs, mine = state["identity"], self._identity()
        for name in theirs | mine:
            if theirs.get(name) != mine.get(name):
                raise ValueError(
                    f"{self.path} is of another run: expected {name} {theirs.get(name)}; got {mine.get(name)}"
                )
        self.flow.load_state_dict(state["flow"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.learner.average.load(state["average"])
        self.history = History(**state["history"])
        self.kept = {name: value.to(self.device) for name, value in state["kept"].items()}
        self.epoch, self.step, self.total, self.done = state["progress"]
        self.saved = time.perf_counter()
        self.started -= self.history.seconds
