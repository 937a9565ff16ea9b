"""Passes that keep little for the backward pass: they evaluate layers again instead.

A *region* of layers is evaluated without a graph. Of some layers it keeps the input. The backward pass
goes through the layers from the last to the first and evaluates each again, with a graph: from the input
that was kept, or from one that is found by inverting the layer where only its output is known. What an
evaluation depends on besides: parameters and modes, which must not have changed; running statistics as
they were before it, which are kept; autocast; and random numbers (dropout), drawn again as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..._memo import Steps, version
from ..._tracing import graph_later
from ...nn import RunningMoments
from ...nn.lipschitz import SpectralLinear
from ...partitions import Partition
from ..coupling import Coupling
from .passing import Cut, Step, advance, run, split, whole
from .snapshot import Autocast, RandomState, Statistics, bound, drawn_again, random_state, same

__all__ = ["run_in_regions"]

_TRACKING = RunningMoments, SpectralLinear, _NormBase


def run_in_regions(
    steps: Sequence[Step], value: Tensor, context: Tensor | None, *, inverse: bool, every: int
) -> tuple[Tensor, Tensor]:
    """Do what `run` does, and keep the input of one layer in `every`; with 0, only the last output.

    Inputs of layers that are not `reversible` are kept too.
    """
    Steps.install()
    log_dets = []
    waiting: list[_Layer] = []
    for step in steps:
        if not step.composite:
            keep = every > 0 and len(waiting) % every == 0 and (every == 1 or bool(waiting))
            waiting.append(_Layer(step, keep or not step.part.reversible))
            continue
        if waiting:
            value, log_det = Region(waiting, inverse)(value, context)
            log_dets.append(log_det)
            waiting = []
        value, log_det = run([step], value, context, inverse=inverse)  # its chains look after themselves
        log_dets.append(log_det)
    if waiting:
        value, log_det = Region(waiting, inverse)(value, context)
        log_dets.append(log_det)
    return value, cast(Tensor, sum(log_dets[1:], log_dets[0]))


class _Layer:
    """A step, and what its evaluation depends on."""

    before: Statistics
    after: Statistics
    random: RandomState | None

    def __init__(self, step: Step, keep: bool = False) -> None:
        self.step, self.keep = step, keep
        self.modes: list[bool] = []
        self.tracking: list[nn.Module] = []
        self.parameters: list[Tensor] = []
        self.buffers: list[Tensor] = []
        modules: list[nn.Module] = [step.part]
        while modules:  # `modules()` takes several times as long, and most have next to nothing
            m = modules.pop()
            self.modes.append(m.training)
            if m._parameters:
                self.parameters += [p for p in m._parameters.values() if p is not None]
            if m._buffers:
                if m.training and isinstance(m, _TRACKING):
                    self.tracking.append(m)
                else:
                    self.buffers += [b for b in m._buffers.values() if b is not None]
            if m._modules:
                modules += [child for child in m._modules.values() if child is not None]
        self.tensors = [t for t in (*self.parameters, *self.buffers) if t.requires_grad]

    def statistics(self) -> Statistics:
        """Return copies of the running statistics."""
        return [(m, {k: b.clone() for k, b in m._buffers.items() if b is not None}) for m in self.tracking]


class Region:
    """One evaluation of some layers, and its backward pass.

    Args:
        layers: in the order of the pass.
        inverse: whether they are passed from the data side.
    """

    def __init__(self, layers: list[_Layer], inverse: bool) -> None:
        self.layers, self.inverse = layers, inverse
        tensors = {id(t): t for layer in layers for t in layer.tensors}
        self.tensors = list(tensors.values())
        self._index = {key: i for i, key in enumerate(tensors)}
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
        """Return the value, the log-det, and the tensors to keep: they go with `self._kept`."""
        before, random = _versions(self.layers), random_state(value)
        held: Tensor | Cut = value
        log_dets, tensors = [], []
        self._kept: list[Partition | None] = []
        self._autocast = Autocast(value.device.type)
        # Casts cached without a graph would serve later uses that need one.
        with graph_later(), self._autocast.again(cached=False):
            for layer in self.layers:
                layer.before, start = layer.statistics(), held
                held, log_det = advance(layer.step, held, context, inverse=self.inverse)
                log_dets.append(log_det)
                layer.after, now = layer.statistics(), random_state(value)
                layer.random, random = None if same(random, now) else random, now
                layer.keep = layer.keep or layer.random is not None  # no inverse draws the same again
                if layer.keep:
                    tensors += _tensors(start)
                    self._kept.append(start.partition if isinstance(start, Cut) else None)
            moved = whole(held)
        if not self.layers[-1].keep:
            tensors.append(moved)
        self._count, self._then = Steps.count, _versions(self.layers)
        if before[1] != self._then[1] and before[0] == self._then[0]:  # act norm's first batch sets both
            raise ValueError(
                f"expected layers that change no buffers but batch norms'; got {self._names}: "
                "use memory 'plain'"
            )
        return moved, cast(Tensor, sum(log_dets[1:], log_dets[0])), tensors

    def gradients(
        self,
        value: Tensor,
        context: Tensor | None,
        tensors: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """Return the gradients of the region's input, of the context and of each of `tensors`."""
        parameters = (p for layer in self.layers for p in layer.parameters)
        now = _versions([_Layer(step) for step in self.steps])
        if now != self._then or Steps.changed(parameters, self._count):
            raise RuntimeError(
                f"expected the parameters and the mode of {self._names} as they were in the forward pass, "
                "since it is evaluated again; got others: call backward() earlier, or use memory 'plain'"
            )
        with self._autocast.again(cached=True):
            if torch.is_grad_enabled():
                return self._differentiably(value, context, grads)
            with torch.enable_grad():
                return self._backwards(context, list(tensors), grads, wanted)

    def _backwards(
        self,
        context: Tensor | None,
        tensors: list[Tensor],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        context = None if context is None else _leaf(context, wanted[1])
        kept = list(self._kept)
        held: Tensor | Cut | None = None if self.layers[-1].keep else tensors.pop()
        grad: Tensor | Cut | None = grads[0]
        total: list[Tensor | None] = [None] * (2 + len(self.tensors))
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            if layer.keep:
                held = _restored(kept.pop(), tensors)
            needed = i > 0 or wanted[0]
            with drawn_again(layer.random):
                held, grad, found = self._step_back(layer, cast(Any, held), grad, grads[1], context, needed)
            indices = [1, *(2 + self._index[id(t)] for t in layer.tensors)]
            for index, gradient in zip(indices, found, strict=True):
                total[index] = _sum(total[index], gradient)
        total[0] = whole(grad) if wanted[0] and grad is not None else None
        return total

    def _step_back(
        self,
        layer: _Layer,
        held: Tensor | Cut,
        grad: Tensor | Cut | None,
        log_det_grad: Tensor | None,
        context: Tensor | None,
        needed: bool,
    ) -> tuple[Tensor | Cut, Tensor | Cut | None, list[Tensor | None]]:
        """Return a layer's input, its gradient, and those of the context and of the layer's tensors."""
        step, part = layer.step, layer.step.part
        given = part.routed(context)
        if isinstance(part, Coupling):
            passive, active = split(held, part.partition)
            passive_grad, active_grad = (None, None) if grad is None else split(grad, part.partition)
            passive = _leaf(passive, needed)
            with bound(layer.before):
                if layer.keep:
                    active = _leaf(active, needed)
                    _, moved, log_det = part.move(passive, active, given, inverse=self.inverse)
                else:
                    active, moved, log_det = part.reverse(passive, active, given, inverse=self.inverse)
            results = moved, step.summed(log_det)
            sources = [passive, active if needed else None, given, *layer.tensors]
            found = _grad(results, (active_grad, log_det_grad), sources)
            if passive_grad is not None:
                found[0] = _sum(passive_grad.sum_to_size(passive.shape), found[0])
            halves = (_or_zeros(found[0], passive), _or_zeros(found[1], active)) if needed else None
            start = held if layer.keep else Cut(part.partition, passive.detach(), active.detach())
            return start, Cut(part.partition, *halves) if halves else None, found[2:]
        value = whole(held)
        if not layer.keep:
            back = part.forward_and_log_det if self.inverse else part.inverse_and_log_det
            with torch.no_grad(), bound(layer.after):
                value, _ = back(value, given)
        value = _leaf(value, needed)
        with bound(layer.before):
            results = run([step], value, given, inverse=self.inverse)
        whole_grad = None if grad is None else whole(grad)
        found = _grad(results, (whole_grad, log_det_grad), [value, given, *layer.tensors])
        return value.detach(), found[0], found[1:]

    def _differentiably(
        self, value: Tensor, context: Tensor | None, grads: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        if self.reversible:
            raise RuntimeError(
                "expected memory 'plain' or 'checkpointed' where a gradient is differentiated again "
                "(create_graph=True); got 'reversible'"
            )
        # Aliases, as a parameter may also stand before the value.
        runner = _Runner(self)
        aliases = [t.view_as(t) for t in self.tensors]
        swapped = {
            f"{path}.{name}": aliases[self._index[id(t)]]
            for path, module in runner.named_modules()  # each once, however often it is used
            for name, t in (*module._parameters.items(), *module._buffers.items())
            if id(t) in self._index
        }
        value, context = value.view_as(value), None if context is None else context.view_as(context)
        first: dict[int, tuple[nn.Module, dict[str, Tensor]]] = {}
        for layer in self.layers:
            for module, values in layer.before:
                first.setdefault(id(module), (module, values))
        random = next((layer.random for layer in self.layers if layer.random is not None), None)
        with bound(list(first.values())), drawn_again(random):
            results = torch.func.functional_call(runner, swapped, (value, context), tie_weights=False)
        return _grad(results, grads, [value, context, *aliases], create_graph=True)

    @property
    def _names(self) -> str:
        return ", ".join(dict.fromkeys(type(step.part).__name__ for step in self.steps))


class _Evaluation(torch.autograd.Function):
    """A region's evaluation; the first two tensors saved are its inputs."""

    @staticmethod
    def forward(
        ctx: Any, region: Region, value: Tensor, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        moved, log_det, kept = region.evaluate(value, context)
        ctx.region = region
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(None if region.reversible else value, context, *kept)
        return moved, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        value, context, *kept = ctx.saved_tensors
        found = ctx.region.gradients(value, context, kept, grads, ctx.needs_input_grad[1:])
        return None, *found


class _Runner(nn.Module):
    """A region as a module, so that other tensors can stand in for its parameters."""

    def __init__(self, region: Region) -> None:
        super().__init__()
        self.steps, self.inverse = region.steps, region.inverse
        self.parts = nn.ModuleList(step.part for step in region.steps)

    def forward(self, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return run(self.steps, value, context, inverse=self.inverse)


def _leaf(tensor: Tensor, wanted: bool) -> Tensor:
    return tensor.detach().requires_grad_(wanted)


def _sum(a: Tensor | None, b: Tensor | None) -> Any:
    return b if a is None else a if b is None else a + b


def _or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


def _grad(
    results: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    inputs: Sequence[Tensor | None],
    *,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """Return the gradient of each input that has one, None for the others."""
    pairs = [(r, g) for r, g in zip(results, grads, strict=True) if r.requires_grad and g is not None]
    sources = {i: t for i, t in enumerate(inputs) if t is not None and t.requires_grad}
    found: list[Tensor | None] = [None] * len(inputs)
    if pairs and sources:
        outputs, given = zip(*pairs, strict=True)
        gradients = torch.autograd.grad(
            outputs, list(sources.values()), given, allow_unused=True, create_graph=create_graph
        )
        for i, gradient in zip(sources, gradients, strict=True):
            found[i] = gradient
    return found


def _tensors(held: Tensor | Cut) -> list[Tensor]:
    return [held.passive, held.active] if isinstance(held, Cut) else [held]


def _restored(partition: Partition | None, tensors: list[Tensor]) -> Tensor | Cut:
    """Take the last value from a list of kept tensors."""
    last = tensors.pop()
    return last if partition is None else Cut(partition, tensors.pop(), last)


def _versions(layers: Sequence[_Layer]) -> tuple[list[Any], list[Any], list[Any]]:
    parameters = [(id(t), version(t)) for layer in layers for t in layer.parameters]
    buffers = [(id(t), version(t)) for layer in layers for t in layer.buffers]
    return parameters, buffers, [layer.modes for layer in layers]
