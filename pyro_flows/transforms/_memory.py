"""Passes that keep little for the backward pass: they evaluate layers again instead.

Layers are grouped into *regions*. A region is evaluated without a graph, and keeps its input or its
output. The backward pass evaluates it again with a graph: from its input all at once, or from its output
layer by layer, each one's input found by inverting it. What an evaluation depends on besides: parameters
and modes, which must not have changed; running statistics as they were before it, which are kept;
autocast; and random numbers (dropout), which are drawn again as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import get_device_states, set_device_states

from .._memo import Steps, version
from .._tracing import graph_later
from ..nn import RunningMoments
from ._passing import Cut, Step, run, split, whole
from .coupling import Coupling

__all__ = ["Region", "regions"]

_TRACKING = RunningMoments, _NormBase


def regions(steps: Sequence[Step], *, inverse: bool, anchors: int | None) -> Iterator[Region]:
    """Group steps in the order given: each alone, or, where `anchors` is given, many that can be inverted.

    Args:
        steps: a chain's layers, in the order of this pass.
        inverse: whether the pass leads from data to noise.
        anchors: how many invertible layers may keep one value between them; 0 for any number.
    """
    Steps.install()
    region: Region | None = None
    for step in steps:
        layer = _Layer(step)
        rebuilt = anchors is not None and step.part.rebuildable and not step.composite
        if region is None or not (rebuilt and region.admits(layer, anchors)):
            if region is not None:
                yield region
            region = Region(inverse=inverse, rebuilt=rebuilt)
        region.add(layer)
    if region is not None:
        yield region


class _Layer:
    """A step, and what its evaluation depends on, from one walk over its modules."""

    def __init__(self, step: Step) -> None:
        modules = list(step.part.modules())
        self.step = step
        self.modes = [m.training for m in modules]
        self.tracking = [m for m in modules if m.training and isinstance(m, _TRACKING)]
        self.parameters = [p for m in modules for p in m._parameters.values() if p is not None]
        fixed = (m for m in modules if not (m.training and isinstance(m, _TRACKING)))
        self.buffers = [b for m in fixed for b in m._buffers.values() if b is not None]
        self.tensors = [t for t in (*self.parameters, *self.buffers) if t.requires_grad]


class Region:
    """Layers that keep one value between them.

    Args:
        inverse: whether they are passed from the data side.
        rebuilt: whether to keep the output, and find each layer's input by inverting it.
    """

    def __init__(self, *, inverse: bool, rebuilt: bool) -> None:
        self.inverse, self.rebuilt = inverse, rebuilt
        self.layers: list[_Layer] = []
        self.tensors: list[Tensor] = []
        self._index: dict[int, int] = {}

    def admits(self, layer: _Layer, anchors: int | None) -> bool:
        """Whether one more layer can do with the kept value: each statistic is committed once a region."""
        tracked = {id(m) for known in self.layers for m in known.tracking}
        room = not anchors or len(self.layers) < anchors
        return self.rebuilt and room and tracked.isdisjoint(map(id, layer.tracking))

    def add(self, layer: _Layer) -> None:
        """Put a layer behind the others."""
        self.layers.append(layer)
        for tensor in layer.tensors:
            if id(tensor) not in self._index:
                self._index[id(tensor)] = len(self.tensors)
                self.tensors.append(tensor)

    @property
    def steps(self) -> list[Step]:
        """The layers' steps, in the order of the pass."""
        return [layer.step for layer in self.layers]

    def __call__(self, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the layers make of `value`, and the sum of their log-dets."""
        inputs = (value, *self.tensors) if context is None else (value, context, *self.tensors)
        if self.steps[0].composite or not any(t.requires_grad for t in inputs):
            return run(self.steps, value, context, inverse=self.inverse)
        result: tuple[Tensor, Tensor] = _Evaluation.apply(self, value, context, *self.tensors)
        return result

    def evaluate(self, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Evaluate without a graph, and note what it takes to do so again."""
        before, random = self._versions(self.layers), _random_state(value)
        self._autocast, self._before = _autocast(value.device.type), self._statistics()
        # Casts cached without a graph would serve later uses that need one.
        with graph_later(), self._autocast(False):
            result = run(self.steps, value, context, inverse=self.inverse)
        self._after, self._count, self._then = self._statistics(), Steps.count, self._versions(self.layers)
        # Randomness is drawn again in its order: not while going backwards.
        self._random = None if _equal(random, _random_state(value)) else random
        self.rebuilt = self.rebuilt and self._random is None
        if before[1] != self._then[1] and before[0] == self._then[0]:  # act norm's first batch sets both
            raise ValueError(
                f"expected layers that change no buffers but batch norms'; got {self._names}: "
                "use memory 'plain'"
            )
        return result

    def gradients(
        self, kept: Tensor, context: Tensor | None, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the gradients of the region's input, of the context and of each of `tensors`."""
        parameters = (p for layer in self.layers for p in layer.parameters)
        now = [_Layer(step) for step in self.steps]
        if self._versions(now) != self._then or Steps.changed(parameters, self._count):
            raise RuntimeError(
                f"expected the parameters and the mode of {self._names} as they were in the forward pass, "
                "since it is evaluated again; got others: call backward() earlier, or use memory 'plain'"
            )
        twice = torch.is_grad_enabled()
        if twice and self.rebuilt:
            raise RuntimeError(
                "expected memory 'plain' or 'checkpointed' where a gradient is differentiated again "
                "(create_graph=True); got 'rebuilt'"
            )
        again = self._differentiably if twice else self._from_output if self.rebuilt else self._from_input
        with torch.enable_grad(), self._autocast(True), _drawn_again(self._random, kept.device.type):
            return again(kept, context, grads, wanted)

    def _from_input(
        self, value: Tensor, context: Tensor | None, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        value, context = _leaf(value, wanted[0]), None if context is None else _leaf(context, wanted[1])
        with _bound(self._before):
            results = run(self.steps, value, context, inverse=self.inverse)
        return _grad(results, grads, [value, context, *self.tensors])

    def _from_output(
        self, value: Tensor, context: Tensor | None, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        context = None if context is None else _leaf(context, wanted[1])
        held: Tensor | Cut = value
        held_grad: Tensor | Cut = torch.zeros_like(value) if grads[0] is None else grads[0]
        total: list[Tensor | None] = [None] * (2 + len(self.tensors))
        for i, layer in reversed(list(enumerate(self.layers))):
            part = layer.step.part
            given = None if part.context_shape is None else context
            needed = i > 0 or wanted[0]
            if isinstance(part, Coupling):
                passive, arrived = split(held, part.partition)
                passive_grad, arrived_grad = split(held_grad, part.partition)
                passive = _leaf(passive, needed)
                with _bound(self._before):
                    active, moved, log_det = part.rebuild(passive, arrived, given, inverse=self.inverse)
                sources = [passive, active if needed else None, given, *layer.tensors]
                log_det = layer.step.summed(log_det)
                found = _grad((moved, log_det), (arrived_grad, grads[1]), sources)
                held = Cut(part.partition, passive.detach(), active.detach())
                if needed:
                    held_grad = Cut(part.partition, _sum(passive_grad, found[0]), _or_zeros(found[1], active))
                found = found[2:]
            else:
                value, value_grad = whole(held), whole(held_grad)
                back = part.forward_and_log_det if self.inverse else part.inverse_and_log_det
                with torch.no_grad(), _bound(self._after):
                    value, _ = back(value, given)
                value = _leaf(value, needed)
                with _bound(self._before):
                    results = run([layer.step], value, given, inverse=self.inverse)
                found = _grad(results, (value_grad, grads[1]), [value, given, *layer.tensors])
                held, held_grad = value.detach(), _or_zeros(found[0], value)
                found = found[1:]
            indices = [1, *(2 + self._index[id(t)] for t in layer.tensors)]
            for index, grad in zip(indices, found, strict=True):
                total[index] = _sum(total[index], grad)
        total[0] = whole(held_grad) if wanted[0] else None
        return total

    def _differentiably(
        self, value: Tensor, context: Tensor | None, grads: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        # Aliases, as a parameter may also stand before the value that is kept.
        runner = _Runner(self)
        aliases = [t.view_as(t) for t in self.tensors]
        named = [*runner.named_parameters(), *runner.named_buffers()]
        swapped = {name: aliases[self._index[id(t)]] for name, t in named if id(t) in self._index}
        value, context = value.view_as(value), None if context is None else context.view_as(context)
        with _bound(self._before):
            results = torch.func.functional_call(runner, swapped, (value, context))
        return _grad(results, grads, [value, context, *aliases], create_graph=True)

    @staticmethod
    def _versions(layers: Sequence[_Layer]) -> tuple[list[Any], list[Any], list[Any]]:
        parameters = [(id(t), version(t)) for layer in layers for t in layer.parameters]
        buffers = [(id(t), version(t)) for layer in layers for t in layer.buffers]
        return parameters, buffers, [layer.modes for layer in layers]

    def _statistics(self) -> list[tuple[nn.Module, dict[str, Tensor]]]:
        tracking = (m for layer in self.layers for m in layer.tracking)
        return [(m, {k: b.clone() for k, b in m._buffers.items() if b is not None}) for m in tracking]

    @property
    def _names(self) -> str:
        return ", ".join(dict.fromkeys(type(step.part).__name__ for step in self.steps))


class _Evaluation(torch.autograd.Function):
    """A region's evaluation, its value and context the only tensors that are saved."""

    @staticmethod
    def forward(
        ctx: Any, region: Region, value: Tensor, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        moved, log_det = region.evaluate(value, context)
        ctx.region = region
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(moved if region.rebuilt else value, context)
        return moved, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found = ctx.region.gradients(*ctx.saved_tensors, grads, ctx.needs_input_grad[1:])
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


@contextmanager
def _bound(statistics: Sequence[tuple[nn.Module, dict[str, Tensor]]]) -> Iterator[None]:
    """Let modules see, and change, copies of these statistics in place of their own."""
    outside = [(m, dict(m._buffers)) for m, _ in statistics]
    for module, values in statistics:
        module._buffers.update({name: value.clone() for name, value in values.items()})
    try:
        yield
    finally:
        for module, buffers in outside:
            module._buffers.update(buffers)


def _autocast(device_type: str) -> Callable[[bool], AbstractContextManager[Any]]:
    """Return what enters the present autocast state again, with a cache of casts or without one."""
    if not torch.amp.is_autocast_available(device_type):
        return lambda cached: nullcontext()
    dtype, enabled = torch.get_autocast_dtype(device_type), torch.is_autocast_enabled(device_type)
    return lambda cached: torch.autocast(device_type, dtype=dtype, enabled=enabled, cache_enabled=cached)


_RandomState = tuple[Tensor, list[int], list[Tensor]]


def _random_state(value: Tensor) -> _RandomState:
    return torch.get_rng_state(), *get_device_states(value)


def _equal(a: _RandomState, b: _RandomState) -> bool:
    return torch.equal(a[0], b[0]) and all(torch.equal(s, t) for s, t in zip(a[2], b[2], strict=True))


@contextmanager
def _drawn_again(state: _RandomState | None, device_type: str) -> Iterator[None]:
    if state is None:
        yield
        return
    here, devices, states = state
    forked = {"device_type": device_type} if devices else {}
    with torch.random.fork_rng(devices, **forked):
        torch.set_rng_state(here)
        set_device_states(devices, states, device_type=device_type)
        yield
