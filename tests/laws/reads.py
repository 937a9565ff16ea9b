"""Law 12: nothing is read back from the device, which would stall its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_flows import FlowTransform

from ..cases.registry import Case

# Operations whose result, or whose result's shape, is known to the host only when the device has come to it.
READING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
}
BY_MASK = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Reads(TorchDispatchMode):
    """Collects the operations that read from the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name in BY_MASK and any(
            isinstance(leaf, Tensor) and leaf.dtype is torch.bool for leaf in tree_leaves(args[1])
        )
        generators = name == "equal" and args[0].dtype is torch.uint8  # whose state lives on the host
        if (name in READING and not generators) or masks:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def scoring_reads_nothing(case: Case) -> None:
    """12. Scoring, and its backward pass."""
    for t, context, x in _built(case):
        y = t.forward_and_log_det(x, context)[0].detach()
        t.inverse_and_log_det(y, context)  # act norm looks once whether it has been set
        _run(t.inverse_and_log_det, y, context)


def sampling_reads_nothing(case: Case) -> None:
    """12. Sampling, and its backward pass."""
    for t, context, x in _built(case):
        _run(t.forward_and_log_det, x, context)


def _built(case: Case) -> Iterator[tuple[FlowTransform, Tensor | None, Tensor]]:
    for training in (False, True):
        t = case.build(training=training)
        yield t, case.context_of(), case.noise(t)


def _run(evaluate: Callable[..., tuple[Tensor, Tensor]], value: Tensor, context: Tensor | None) -> None:
    value = value.requires_grad_(value.is_floating_point())
    with Reads() as seen:
        result, log_det = evaluate(value, context)
        if result.requires_grad:
            (result.sum() + log_det.sum()).backward()
    assert not seen.names, f"expected no reads; got {seen.names}"


LAWS = [scoring_reads_nothing, sampling_reads_nothing]
