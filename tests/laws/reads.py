"""Law 12: nothing is read back from the device, which would stall its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from pyro_flows import FlowTransform

from ..cases.registry import Case
from ..helpers.reads import Reads


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
    with Reads() as reads:
        result, log_det = evaluate(value, context)
        if result.requires_grad:
            (result.sum() + log_det.sum()).backward()
    assert not reads.found, f"expected no reads; got {reads.found}"


LAWS = [scoring_reads_nothing, sampling_reads_nothing]
