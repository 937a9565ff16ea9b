"""Laws 4 to 6: gradients, optimiser steps, and how often a conditioner runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.optim import Optimizer

from ...transform import FlowTransform
from ...transforms import Coupling
from ..case import Case
from ..counting import counted
from ..expect import expect, named

__all__ = [
    "OPTIMISERS",
    "conditioners_counted",
    "gradients",
    "has_couplings",
    "has_parameters",
    "scored_after_steps",
    "training_on_one_tensor",
]

OPTIMISERS: dict[str, dict[str, Any]] = {
    "plain": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def gradients(case: Case) -> None:
    """4. Every parameter, and the context, gets a finite, non-zero gradient, through both directions."""
    for training in (False, True):
        t = case.build(training=training)
        context = case.context_of((32,))
        leaves: dict[str, Tensor] = dict(t.named_parameters())
        if context is not None:
            leaves["context"] = context.requires_grad_()
        flow = case.flow(t)
        shape = case.sample_shape(context, (32,))
        y = flow(context).sample(shape)
        losses = {"log_prob": case.uneven(t)(context).log_prob(y).sum()}
        z = flow(context).rsample(shape)
        losses["rsample"] = (z.square() + z).sum()
        for direction, loss in losses.items():
            through = f"through {direction}"
            expect(loss.requires_grad, f"expected gradients {through}; got a constant")
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, found, strict=True):
                expect(gradient is not None, f"expected a gradient of {name} {through}; got none")
                expect(gradient.isfinite().all(), f"expected a finite gradient of {name} {through}")
                expect(gradient.abs().max() > 0, f"expected a non-zero gradient of {name} {through}")


def training_on_one_tensor(case: Case, optimiser: str = "fused") -> None:
    """5. After optimiser steps, the same data and old samples score as by a fresh copy."""
    t = case.build()
    adam = torch.optim.Adam(t.parameters(), lr=0.05, **OPTIMISERS[optimiser])
    scored_after_steps(case, t, adam, adam.step)


def scored_after_steps(case: Case, t: FlowTransform, optimiser: Optimizer, step: Callable[[], Any]) -> None:
    """Take four steps on the same tensor, and compare each score to that of a fresh copy."""
    context = case.context_of((16,))
    flow = case.flow(t)
    batch = case.sample_shape(context, (16,))
    plain = dist.TransformedDistribution(case.base(), [t if context is None else t.condition(context)])
    old = [plain.sample(batch), plain.rsample(batch), flow(context).sample(batch)]
    data = flow(context).sample(batch)
    for _ in range(2):
        before = flow(context).log_prob(data).detach()
        for scorer in (flow(context), plain):
            optimiser.zero_grad()
            (-scorer.log_prob(data).mean()).backward()
            step()
            old += [scorer.sample(batch), scorer.rsample(batch)]
            optimiser.zero_grad()
            (-scorer.log_prob(data).mean()).backward()
            step()
            fresh = case.flow(_rebuilt(case, t))(context)
            for y in (data, *old[-5:]):
                torch.testing.assert_close(
                    scorer.log_prob(y),
                    fresh.log_prob(y.detach().clone()),
                    msg=named("after an optimiser step, a score differs from that of a fresh copy"),
                )
        expect(
            not torch.allclose(flow(context).log_prob(data), before),
            "expected optimiser steps to change the log-density; it stayed",
        )


def _rebuilt(case: Case, t: FlowTransform) -> FlowTransform:
    new = case.build(seed=0, training=t.training)
    new.load_state_dict(t.state_dict())
    return new


def conditioners_counted(case: Case) -> None:
    """6. One call of each coupling's conditioner per `log_prob`; none to score a fresh `rsample`."""
    for training in (False, True):
        t = case.build(training=training)
        counters = counted(t, Coupling)
        context = case.context_of()
        batch = case.sample_shape(context)
        bound = t if context is None else t.condition(context)

        def called(times: int, what: str, counters: list[Any] = counters) -> None:
            found = {c.take() for c in counters}
            expect(found == {times}, f"expected {times} calls of each conditioner to {what}; got {found}")

        for d in (case.flow(t)(context), dist.TransformedDistribution(case.base(), [bound])):
            y = d.sample(batch)
            called(1, "sample")
            for value in (y, y.clone(), y):
                d.log_prob(value)
                called(1, "score")
            z = d.rsample(batch)
            called(1, "rsample")
            d.log_prob(z)
            d.log_prob(z)
            called(0, "score a fresh rsample")


def has_parameters(t: FlowTransform) -> bool:
    """Whether the transform has parameters."""
    return bool(list(t.parameters()))


def has_couplings(t: FlowTransform) -> bool:
    """Whether the transform has couplings."""
    return any(isinstance(part, Coupling) for part in t.modules())
