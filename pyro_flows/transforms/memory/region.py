"""Passes that keep little for the backward pass: they evaluate layers again instead.

A *region* is a run of layers that is evaluated without a graph. It keeps the inputs of some of the layers.
The backward pass (in `replay`) evaluates each layer again with a graph, from the last to the first: from the
input that was kept or, if only the output is known, from the input that inverting the layer finds. What else
an evaluation depends on is in `snapshot`: parameters and modes, which must not change in between; running
statistics as they were before it, which are kept; autocast; and random numbers, which are drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ..._fingerprint import Steps
from ..._tracing import graph_later
from ...partitions import Partition
from ..passing import Cut, Step, advance, run, whole
from .replay import gradients
from .snapshot import Autocast, Layer, random_state, same, versions

__all__ = ["run_in_regions"]


def run_in_regions(
    steps: Sequence[Step], value: Tensor, context: Tensor | None, *, inverse: bool, every: int
) -> tuple[Tensor, Tensor]:
    """Return what `run` returns, keeping the input of one layer in `every`; if 0, only the last output.

    Inputs of layers that are not `reversible` are kept too.
    """
    Steps.install()
    log_dets = []
    waiting: list[Layer] = []
    for step in steps:
        if not step.composite:
            keep = every > 0 and len(waiting) % every == 0 and (every == 1 or bool(waiting))
            waiting.append(Layer(step, keep or not step.part.reversible))
            continue
        if waiting:
            value, log_det = Region(waiting, inverse)(value, context)
            log_dets.append(log_det)
            waiting = []
        # Chains inside the step have a memory of their own.
        value, log_det = run([step], value, context, inverse=inverse)
        log_dets.append(log_det)
    if waiting:
        value, log_det = Region(waiting, inverse)(value, context)
        log_dets.append(log_det)
    return value, cast(Tensor, sum(log_dets[1:], log_dets[0]))


class Region:
    """One evaluation of some layers, and what its backward pass needs to know.

    Args:
        layers: the layers in the order of the pass.
        inverse: whether the pass leads from the data to the noise.
    """

    def __init__(self, layers: list[Layer], inverse: bool) -> None:
        self.layers, self.inverse = layers, inverse
        tensors = {id(t): t for layer in layers for t in layer.tensors}
        self.tensors = list(tensors.values())
        self.index = {key: i for i, key in enumerate(tensors)}
        self.reversible = not all(layer.keep for layer in layers)

    @property
    def steps(self) -> list[Step]:
        """The layers' steps, in the order of the pass."""
        return [layer.step for layer in self.layers]

    def __call__(self, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the layers make of `value`, and the sum of their log-dets."""
        inputs = (value, *self.tensors) if context is None else (value, context, *self.tensors)
        if not any(t.requires_grad for t in inputs):
            return run(self.steps, value, context, inverse=self.inverse)
        result: tuple[Tensor, Tensor] = _Evaluation.apply(self, value, context, *self.tensors)
        return result

    def evaluate(self, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the value, the log-det and the tensors to keep; `self.kept` has their partitions."""
        before, random = versions(self.layers), random_state(value)
        held: Tensor | Cut = value
        log_dets, tensors = [], []
        self.kept: list[Partition | None] = []
        self.autocast = Autocast(value.device.type)
        # Casts cached without a graph would serve later uses that need one.
        with graph_later(), self.autocast.again(cached=False):
            for layer in self.layers:
                layer.before, start = layer.statistics(), held
                held, terms = advance(layer.step, held, context, inverse=self.inverse)
                log_dets.append(terms.sum(-1))
                layer.after, now = layer.statistics(), random_state(value)
                layer.random, random = None if same(random, now) else random, now
                layer.keep = layer.keep or layer.random is not None  # no inverse draws the same again
                if layer.keep:
                    tensors += _tensors(start)
                    self.kept.append(start.partition if isinstance(start, Cut) else None)
            moved = whole(held)
        if not self.layers[-1].keep:
            tensors.append(moved)
        self.count, self.then = Steps.count, versions(self.layers)
        if before[1] != self.then[1] and before[0] == self.then[0]:  # act norm's first batch sets both
            raise ValueError(
                f"expected layers that change no buffers but batch norms'; got {self.names}: "
                "use memory 'plain'"
            )
        return moved, cast(Tensor, sum(log_dets[1:], log_dets[0])), tensors

    @property
    def names(self) -> str:
        """The layers' classes, for messages."""
        return ", ".join(dict.fromkeys(type(step.part).__name__ for step in self.steps))


class _Evaluation(torch.autograd.Function):
    """A region's evaluation; the first two tensors saved are its inputs."""

    @staticmethod
    def forward(
        ctx: Any, region: Region, value: Tensor, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the region, and keep what its backward pass starts from."""
        moved, log_det, kept = region.evaluate(value, context)
        ctx.region = region
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(None if region.reversible else value, context, *kept)
        return moved, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of all inputs, layer by layer."""
        value, context, *kept = ctx.saved_tensors
        found = gradients(ctx.region, value, context, kept, grads, ctx.needs_input_grad[1:])
        return None, *found


def _tensors(held: Tensor | Cut) -> list[Tensor]:
    return [held.passive, held.active] if isinstance(held, Cut) else [held]
