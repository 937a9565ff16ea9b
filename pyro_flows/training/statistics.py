"""Running statistics of a whole data set, for an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..flow import Flow
from ..nn import RunningMoments
from ..nn.moments import batch_moments
from ..transform import FlowTransform
from ..transforms.walk import Visit, Walk
from .data import Source, rows_at_once, source_of

__all__ = ["update_statistics"]


def update_statistics(
    flow: Flow | FlowTransform, data: Any, *, context: Any = None, batch_size: int | None = None
) -> None:
    """Set every running mean and variance to that of its own inputs over a whole data set.

    Works from the data side inwards: a layer's inputs are computed with the final statistics of the
    layers before it. Rows with a NaN or an infinity are left out.

    Args:
        flow: a `Flow` or a transform; its mode stays as it is.
        data: array or tensor of shape (rows, *event), or a dataset.
        context: array or tensor of shape (rows, *context_shape), for a conditional flow.
        batch_size: rows evaluated at once; about 260,000 numbers if None.

    Example:
        >>> import torch, pyro_flows as pf
        >>> data = torch.randn(1000, 3) * 2 + 5
        >>> transform = pf.transforms.BatchNorm(3)
        >>> pf.update_statistics(transform, data)
        >>> bool(torch.allclose(transform.moments.mean, data.mean(0)))
        True
    """
    transform = flow.transform if isinstance(flow, Flow) else flow
    update(transform, source_of(data, context, like=flow), batch_size=batch_size)


def update(
    transform: FlowTransform, source: Source, *, at_most: int | None = None, batch_size: int | None = None
) -> None:
    """Set the running statistics inside `transform` from all rows of `source`, or `at_most` of them."""
    if not any(isinstance(m, RunningMoments) for m in transform.modules()):
        return
    rows = torch.arange(len(source))
    if at_most is not None and at_most < len(source):  # the first ones may be of one kind
        rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:at_most]
    pairs = list(source.batches(rows.split(batch_size or rows_at_once(transform))))
    with torch.no_grad(), in_eval_mode(transform):
        for visits in zip(*(Walk(transform, *pair) for pair in pairs), strict=True):
            _visit(visits)


@contextmanager
def restored_statistics(module: nn.Module) -> Iterator[None]:
    """Give all running averages back as they were."""
    moments = [m for m in module.modules() if isinstance(m, RunningMoments)]
    states = [{name: b.clone() for name, b in m.named_buffers()} for m in moments]
    try:
        yield
    finally:
        for m, state in zip(moments, states, strict=True):
            m.load_state_dict(state)


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode, and at the end all its parts back into their own modes."""
    training = {m for m in module.modules() if m.training}
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _visit(visits: Sequence[Visit]) -> None:
    """Set the statistics inside one layer from all batches that reach it, and take them through it."""
    layer = visits[0].layer
    if any(isinstance(m, RunningMoments) for m in layer.modules()):
        for moments in _in_call_order(layer, visits[0].score):
            _set(moments, lambda: [visit.score() for visit in visits])
    for visit in visits:
        visit.score()


def _in_call_order(transform: nn.Module, run: Callable[[], Any]) -> list[RunningMoments]:
    order: list[RunningMoments] = []
    hooks = [
        m.register_forward_pre_hook(lambda m, _: order.append(m))
        for m in transform.modules()
        if isinstance(m, RunningMoments)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(order))


def _arguments(y: Tensor, event_dim: int = 1) -> tuple[Tensor, int]:
    """Return the arguments of a call of `RunningMoments`, with its default."""
    return y, event_dim


def _set(moments: RunningMoments, run: Callable[[], Any]) -> None:
    """Call `run`, and set the averages to the moments of all inputs that they saw."""
    count = torch.zeros((), dtype=torch.float64)
    mean, squares = (torch.zeros(moments.mean.shape, dtype=torch.float64) for _ in range(2))

    def collect(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Add a batch to the moments (Chan, Golub and LeVeque, 1979)."""
        nonlocal count, mean, squares
        y, event_dim = _arguments(*args, **named)
        new_mean, new_variance, rows = (t.cpu().double() for t in batch_moments(y, event_dim))
        new = rows * y.shape[y.dim() - event_dim + 1 :].numel()
        total = (count + new).clamp(min=1)
        step = new_mean - mean
        squares = squares + new * (new_variance + step**2 * count / total)
        mean = mean + step * new / total
        count = count + new

    hook = moments.register_forward_pre_hook(collect, with_kwargs=True)
    try:
        run()
    finally:
        hook.remove()
    if count >= 2:
        moments.mean.copy_(mean)
        moments.variance.copy_(squares / count)
        moments.weight.fill_(1.0)
