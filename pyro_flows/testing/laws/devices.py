"""Laws 4, 10 and 12: precision, placement, and no reads from the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...transform import FlowTransform
from ...transforms import NeuralODE, Residual
from ..case import Case
from ..expect import expect, named
from ..placement import NoCPU
from ..reads import Reads

__all__ = ["mixed_precision", "placement", "sampling_reads_nothing", "scoring_reads_nothing"]

NETWORKS = ("pyro_flows.nn", "torch.nn.modules.linear", "torch.nn.modules.conv", "pyro.nn")


def mixed_precision(case: Case) -> None:
    """4. Under bfloat16 autocast only networks are coarse: the maps and their log-dets are not."""
    t = case.build()
    b = case.bound(t, (16,))
    x = case.noise(b, (16,))
    maps = {m for layer in t.modules() if isinstance(layer, NeuralODE | Residual) for m in layer.modules()}
    coarse = any(type(m).__module__.startswith(NETWORKS) for m in {*t.modules()} - maps)
    found = []
    for enabled in (False, True):
        with torch.autocast(torch.device(case.device).type, torch.bfloat16, enabled=enabled):
            torch.manual_seed(0)
            y, forward = b.forward_and_log_det(x)
            torch.manual_seed(0)
            found.append((y, forward, *b.inverse_and_log_det(y)))
    wide: dict[str, Any] = {"atol": 0.3, "rtol": 0.3} if coarse else {}
    for fine, cast in zip(*found, strict=True):
        expect(cast.dtype == torch.float32, f"expected float32 under autocast; got {cast.dtype}")
        torch.testing.assert_close(
            cast, fine, **wide, msg=named("a value under autocast differs from the one in float32")
        )


def placement(case: Case) -> None:
    """10. With everything on the meta device, no operation touches a CPU tensor."""
    for training in (False, True):
        t = case.build(training=training)
        flow = case.flow(t).to("meta")
        context = case.context_of()
        context = None if context is None else context.to("meta").requires_grad_()
        y = torch.empty(5, *case.data_event(), device="meta", requires_grad=True)
        with NoCPU():
            z = flow(context).rsample(case.sample_shape(context))
            (flow(context).log_prob(z).sum() + flow(context).log_prob(y).sum()).backward()
            flow(context).sample()
        expect(
            y.grad is not None and y.grad.device.type == "meta",
            "expected the gradient of the data on its device",
        )


def scoring_reads_nothing(case: Case) -> None:
    """12. Scoring and its backward pass read nothing back from the device, which would stall its queue."""
    for t, context, x in _built(case):
        y = t.forward_and_log_det(x, context)[0].detach()
        t.inverse_and_log_det(y, context)  # act norm looks once whether it has been set
        _run(t.inverse_and_log_det, y, context)


def sampling_reads_nothing(case: Case) -> None:
    """12. Nor do sampling and its backward pass."""
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
    found = ", ".join(f"{operation} in {where}" for operation, where in reads.found)
    expect(not reads.found, f"expected no reads from the device; got {found}")
