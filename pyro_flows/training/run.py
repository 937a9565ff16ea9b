"""One run of `fit`: its loop, its checkpoints and what it keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from torch import Tensor

from ..flow import Flow
from ..loop.checkpoint import Checkpoint, identity_of, name_of
from ..loop.clipped_step import NonFiniteLoss
from ..loop.generators import seed_generators
from ..loop.progress import progress_bar
from .data import Data, Source, inner_source
from .learner import Learner
from .likelihood import Loss, negative_log_likelihood
from .order import Batch, Order
from .process import process_of
from .settings import History, Settings
from .solver_error import warn_of_solver_error
from .statistics import restored_statistics, update
from .validation import mean_loss

__all__ = ["Run"]

State = dict[str, Tensor]

CHECK_EVERY = 50  # steps; in between nothing is read back from the device
STATISTICS_ROWS, STATISTICS_IMAGES = 20_000, 2_000  # each pixel of an image counts
VERSION = 2  # of the checkpoint's format


class Run:
    """One run; what must survive a kill is what `_save` writes."""

    def __init__(
        self,
        flow: Flow,
        data: Data,
        loss: Loss,
        path: Any,
        settings: Settings,
    ) -> None:
        self.flow, self.row_loss, self.settings = flow, loss, settings
        parameters = [p for p in flow.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("expected a flow with parameters to train; got none")
        self.process = process_of(parameters[0].device)
        self.device = self.process.device
        if self.device.type == "cuda":
            flow.to(self.device)  # of several processes, each has a GPU of its own
        seed_generators(settings.seed, device=self.device)
        any_context = loss is not negative_log_likelihood
        self.train, self.val = data.read(
            flow, seed=settings.seed, any_context=any_context, warn=self.process.rank == 0
        )
        self.data = data
        self.order = Order(self.train, settings.batch_size, seed=settings.seed, process=self.process)
        self.epochs = settings.epochs or max(10, math.ceil(8000 / self.order.steps))
        self.patience = (settings.patience or max(10, self.epochs // 4)) if self.val else self.epochs
        self.learner = Learner(flow, loss, settings, self.process)
        self.checkpoint = Checkpoint(
            path if self.process.rank == 0 else None,
            kind="training run",
            version=VERSION,
            every=settings.checkpoint_every,
        )
        transform = flow.transform
        whole = transform.codomain.is_discrete and loss is negative_log_likelihood
        shape = transform.codomain_shape
        self.history = History(dims=shape.numel() if whole and shape is not None else 0)
        self.statistics_rows = STATISTICS_IMAGES if transform.codomain.event_dim == 3 else STATISTICS_ROWS
        self.kept = self._weights()  # the best, or before the first validation some that gave a finite loss
        self.tried: State | None = None  # weights whose loss nobody has looked at yet
        self.epoch = self.step = 0  # the step within the epoch
        self.total = self.process.zero()  # of the losses in this epoch
        self.done = False

    def __call__(self) -> History:
        """Resume, train, leave the flow with its best weights and return the losses."""
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
        if self.process.rank == 0:
            warn_of_solver_error(self.flow, self.row_loss, self.train)
        return self.history

    def _train_epoch(self) -> None:
        self.flow.train()
        batches = self.order.batches(self.epoch, self.step)
        while self.step < self.order.steps:
            self._step(*self._next(batches))
            last = self.step == self.order.steps
            if (last or self.step % CHECK_EVERY == 0) and not self._is_finite():
                self._fail()
            if self.checkpoint.is_due and self._is_finite():
                self._save()

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """Return the batch of the present step, with what is drawn in it and after it."""
        self._seed(0, rank=self.process.rank)
        x, context, weights = next(batches)
        return x if self.settings.augment is None else self.settings.augment(x), context, weights

    def _seed(self, use: int, *, rank: int) -> None:
        key = (self.settings.seed, self.history.steps, rank, use)
        seed_generators(*key, device=self.device)

    def _step(self, *batch: *Batch) -> None:
        self.history.compile_seconds += self.learner.prepare(*batch)
        loss = self.learner.gradient(*batch)
        if self.step == 0 and not self.history.best_epoch:
            self.tried = self._weights()
        progress = self.history.steps / (self.epochs * self.order.steps)
        self.learner.step(self.settings.schedule(progress), loss)
        self.total += loss
        self.step += 1
        self.history.steps += 1

    def _is_finite(self) -> bool:
        """Read from the device whether all steps so far were finite."""
        good = self.history.steps - int(self.learner.skipped)
        if self.tried is not None and good > self.epoch * self.order.steps:
            self.kept, self.tried = self.tried, None
        return good == self.history.steps

    def _fail(self) -> None:
        """Repeat the first step that was not finite, to say why."""
        self.history.steps -= int(self.learner.skipped)
        self.step = self.history.steps - self.epoch * self.order.steps
        why = self.learner.why(*self._next(self.order.batches(self.epoch, self.step)))
        self.flow.load_state_dict(self.kept)
        raise NonFiniteLoss(
            f"the loss or its gradient became non-finite at step {self.history.steps}; first in {why}. "
            "The flow keeps its last good weights; a smaller learning_rate or clip may help"
        )

    def _weights(self) -> State:
        return {name: value.clone() for name, value in self.flow.state_dict().items()}

    def _end_epoch(self) -> None:
        self.history.train_loss.append(float(self.total) / self.order.steps)
        self._seed(1, rank=0)  # all processes update the same statistics
        self.epoch, self.step, self.total = self.epoch + 1, 0, self.process.zero()
        if self.val is not None:
            with self.learner.average.applied(), restored_statistics(self.flow):
                self._validate(self.val)
        self.done = self.epoch >= self.epochs or self.epoch - self.history.best_epoch >= self.patience
        if self.done:
            if self.history.best_epoch:
                self.flow.load_state_dict(self.kept)
            else:
                self.learner.average.apply()
                self._update_statistics()
        if self.done or self.checkpoint.is_due:
            self._save()

    def _validate(self, rows: Source) -> None:
        self._update_statistics()
        self.flow.eval()
        # The same noise in each epoch, so that losses which draw some can be compared.
        seed_generators(self.settings.seed, self.process.rank, device=self.device)
        loss = mean_loss(self.flow, self.row_loss, rows, self.process)
        if math.isfinite(loss) and loss < self.history.best_loss:
            self.history.best_epoch = self.epoch
            self.kept = self._weights()
        self.history.val_loss.append(loss)

    def _update_statistics(self) -> None:
        update(self.flow.transform, self.train, at_most=self.statistics_rows)

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
        settings = self.settings
        told = identity_of(settings, self.flow.state_dict(), without=("progress", "checkpoint_every"))
        return told | {
            "learning_rate": settings.rate_for(self.row_loss, self.flow.transform),
            "schedule": [settings.schedule(i / 4) for i in range(5)],
            "loss": name_of(self.row_loss),
            "training rows": len(self.train),
            "validation rows": len(self.val or ()),
            **self._checksums,
            **self.data.identity(),
            **self.learner.identity(),
        }

    @cached_property
    def _checksums(self) -> dict[str, int]:
        """What tells the data from others, found once: the bytes are many."""
        found = self.train.checksums()
        if self.val is not None and inner_source(self.val) is not inner_source(self.train):
            found |= {f"validation {name}": value for name, value in self.val.checksums().items()}
        return found

    def _save(self) -> None:
        self.history.seconds = self.checkpoint.seconds
        self.checkpoint.save(self._state, self._identity)

    def _state(self) -> dict[str, Any]:
        return {
            "flow": self.flow.state_dict(),
            "learner": self.learner.state(),
            "history": vars(self.history),
            "kept": self.kept,
            "progress": (self.epoch, self.step, float(self.total), self.done),
        }

    def _load(self) -> None:
        state = self.process.of_first(self.checkpoint.load())  # no other process need see the file
        if state is None:
            self._save()
            return
        self.checkpoint.resume(state, self._identity())
        self.flow.load_state_dict(state["flow"])
        self.learner.load(state["learner"])
        self.history = History(**state["history"])
        self.kept = {name: value.to(self.device) for name, value in state["kept"].items()}
        self.epoch, self.step, total, self.done = state["progress"]
        self.total += total
