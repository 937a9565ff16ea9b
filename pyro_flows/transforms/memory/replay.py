"""The backward pass of a region: its layers are evaluated again, from the last to the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..._fingerprint import Steps
from ...partitions import Partition
from ..coupling import Coupling
from ..passing import Cut, run, split, whole
from .snapshot import Layer, drawn_again, substituted, versions

if TYPE_CHECKING:
    from .region import Region

__all__ = ["gradients"]


def gradients(
    region: Region,
    value: Tensor,
    context: Tensor | None,
    tensors: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of the region's input, of the context and of each of `tensors`."""
    parameters = (p for layer in region.layers for p in layer.parameters)
    now = versions([Layer(step) for step in region.steps])
    if now != region.then or Steps.changed(parameters, region.count):
        raise RuntimeError(
            f"expected the parameters and the mode of {region.names} as they were in the forward pass, "
            "since it is evaluated again; got others: call backward() earlier, or use memory 'plain'"
        )
    with region.autocast.again(cached=True):
        if torch.is_grad_enabled():
            return _differentiably(region, value, context, grads)
        with torch.enable_grad():
            return _backwards(region, context, list(tensors), grads, wanted)


def _backwards(
    region: Region,
    context: Tensor | None,
    tensors: list[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    context = None if context is None else _leaf(context, wanted[1])
    kept = list(region.kept)
    held: Tensor | Cut | None = None if region.layers[-1].keep else tensors.pop()
    grad: Tensor | Cut | None = grads[0]
    total: list[Tensor | None] = [None] * (2 + len(region.tensors))
    for i in reversed(range(len(region.layers))):
        layer = region.layers[i]
        if layer.keep:
            held = _restored(kept.pop(), tensors)
        needed = i > 0 or wanted[0]
        with drawn_again(layer.random):
            held, grad, found = _step_back(region, layer, cast(Any, held), grad, grads[1], context, needed)
        indices = [1, *(2 + region.index[id(t)] for t in layer.tensors)]
        for index, gradient in zip(indices, found, strict=True):
            total[index] = _sum(total[index], gradient)
    total[0] = whole(grad) if wanted[0] and grad is not None else None
    return total


def _step_back(
    region: Region,
    layer: Layer,
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
        with substituted(layer.before):
            if layer.keep:
                active = _leaf(active, needed)
                _, moved, log_slopes = part.move(passive, active, given, inverse=region.inverse)
            else:
                active, moved, log_slopes = part.reverse(passive, active, given, inverse=region.inverse)
        results = moved, step.terms(log_slopes).sum(-1)
        sources = [passive, active if needed else None, given, *layer.tensors]
        found = _grad(results, (active_grad, log_det_grad), sources)
        if passive_grad is not None:
            found[0] = _sum(passive_grad.sum_to_size(passive.shape), found[0])
        halves = (_or_zeros(found[0], passive), _or_zeros(found[1], active)) if needed else None
        start = held if layer.keep else Cut(part.partition, passive.detach(), active.detach())
        return start, Cut(part.partition, *halves) if halves else None, found[2:]
    value = whole(held)
    if not layer.keep:
        back = part.forward_and_log_det if region.inverse else part.inverse_and_log_det
        with torch.no_grad(), substituted(layer.after):
            value, _ = back(value, given)
    value = _leaf(value, needed)
    with substituted(layer.before):
        results = run([step], value, given, inverse=region.inverse)
    whole_grad = None if grad is None else whole(grad)
    found = _grad(results, (whole_grad, log_det_grad), [value, given, *layer.tensors])
    return value.detach(), found[0], found[1:]


def _differentiably(
    region: Region, value: Tensor, context: Tensor | None, grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    if region.reversible:
        raise RuntimeError(
            "expected memory 'plain' or 'checkpointed' if a gradient is to be differentiated again "
            "(create_graph=True); got 'reversible'"
        )
    # Aliases, as a parameter may also stand before the value.
    runner = _Runner(region)
    aliases = [t.view_as(t) for t in region.tensors]
    swapped = {
        f"{path}.{name}": aliases[region.index[id(t)]]
        for path, module in runner.named_modules()  # each once, however often it is used
        for name, t in (*module._parameters.items(), *module._buffers.items())
        if id(t) in region.index
    }
    value, context = value.view_as(value), None if context is None else context.view_as(context)
    first: dict[int, tuple[nn.Module, dict[str, Tensor]]] = {}
    for layer in region.layers:
        for module, values in layer.before:
            first.setdefault(id(module), (module, values))
    random = next((layer.random for layer in region.layers if layer.random is not None), None)
    with substituted(list(first.values())), drawn_again(random):
        results = torch.func.functional_call(runner, swapped, (value, context), tie_weights=False)
    return _grad(results, grads, [value, context, *aliases], create_graph=True)


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


def _restored(partition: Partition | None, tensors: list[Tensor]) -> Tensor | Cut:
    """Take a value off the end of the list of kept tensors."""
    last = tensors.pop()
    return last if partition is None else Cut(partition, tensors.pop(), last)
