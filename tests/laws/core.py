"""The laws of every transform, as plain functions of a case: numbers, memo, copies, placement.

Laws about tracing are in `laws_tracing.py`, those about Pyro in `laws_pyro.py`.
"""

from __future__ import annotations

import copy
import io
import pickle

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyro_flows import FlowTransform
from pyro_flows.transforms import Coupling, NeuralODE, Residual

from ..cases.case import device
from ..cases.registry import Case
from ..helpers.counting import counted
from ..helpers.placement import NoCPU

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def round_trip(case: Case) -> None:
    """1. Both ways, near the data."""
    _round_trip(case, torch.float64)


def round_trip_float32(case: Case) -> None:
    """1. So too in single precision."""
    _round_trip(case, torch.float32)


def _round_trip(case: Case, dtype: torch.dtype) -> None:
    tolerance = case.within(TOLERANCE[dtype])
    t = case.bound(case.build(dtype), (64,), dtype)
    x = case.noise(t, (64,), dtype)
    y, forward = t.forward_and_log_det(x)
    back, inverse = t.inverse_and_log_det(y)
    torch.testing.assert_close(back, x, **tolerance)
    torch.testing.assert_close(inverse, -forward, **tolerance)
    torch.testing.assert_close(t.forward_and_log_det(back)[0], y, **tolerance)


def far_round_trip(case: Case) -> None:
    """1. Far away finite, and to a relative 1e-4 for a single layer."""
    for dtype in TOLERANCE:
        t = case.bound(case.build(dtype), (64,), dtype)
        signs = torch.randint(0, 2, (64, *case.data_event()), device=device()) * 2 - 1
        for size in (1e3, 1e6):
            y = (signs * size).to(dtype)
            x, log_det = t.inverse_and_log_det(y)
            back, _ = t.forward_and_log_det(x)
            assert x.isfinite().all()
            assert log_det.isfinite().all()
            assert back.isfinite().all()
            if case.single:
                torch.testing.assert_close(back, y, rtol=1e-4, atol=0)


def log_det_is_jacobians(case: Case) -> None:
    """2. Log-det equals `slogdet` of the autograd Jacobian; the inverse's is its negative."""
    t = case.build(torch.float64)
    for _ in range(3):
        b = case.bound(t, (), torch.float64)
        x = case.noise(b, (), torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda z, b=b: b.forward_and_log_det(z)[0], x)
        wanted = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet
        y, forward = b.forward_and_log_det(x)
        inverse = b.inverse_and_log_det(y)[1]
        derived = b.log_abs_det_jacobian(x, y), -b.inv.log_abs_det_jacobian(y, x)
        for found in (forward, -inverse, *derived):
            torch.testing.assert_close(found, wanted, **case.within(1e-9))


def shapes(case: Case) -> None:
    """3. Any batch shape, none included; shape arithmetic; dtype and device kept."""
    _shapes(case, (), (3,), (2, 3), (3, 1))


def empty_batch(case: Case) -> None:
    """3. So too with no event at all."""
    _shapes(case, (0,), (2, 0))


def _shapes(case: Case, *batches: tuple[int, ...]) -> None:
    for dtype in TOLERANCE:
        built = case.build(dtype)
        for batch in batches:
            t = case.bound(built, batch, dtype)
            x = case.noise(t, batch, dtype)
            y, forward = t.forward_and_log_det(x)
            back, inverse = t.inverse_and_log_det(y)
            assert t.forward_shape(x.shape) == y.shape
            assert t.inverse_shape(y.shape) == back.shape == x.shape
            assert forward.shape == inverse.shape == batch
            assert t(x).shape == y.shape
            assert t.inv(y).shape == x.shape
            assert {v.dtype for v in (y, forward, back, inverse)} == {dtype}
            assert {v.device for v in (y, forward, back, inverse)} == {x.device}


def rows_are_independent(case: Case) -> None:
    """3. A batch gives what its rows give alone."""
    t = case.build(torch.float64)
    context = case.context_of((2, 3), torch.float64)
    x = case.noise(t, (2, 3), torch.float64)
    y, log_det = t.forward_and_log_det(x, context)
    for i in range(2):
        for j in range(3):
            alone = t.forward_and_log_det(x[i, j], None if context is None else context[i, j])
            torch.testing.assert_close((y[i, j], log_det[i, j]), alone, **case.within(1e-7))


def gradients(case: Case) -> None:
    """4. Every parameter, and the context, gets a finite, non-zero gradient, through both directions."""
    for training in (False, True):
        t = case.build(training=training)
        context = case.context_of((32,))
        leaves = dict(t.named_parameters())
        if context is not None:
            leaves["context"] = context.requires_grad_()
        flow = case.flow(t)
        y = flow(context).sample(() if context is not None else (32,))
        losses = {"log_prob": case.uneven(t)(context).log_prob(y).sum()}
        z = flow(context).rsample(() if context is not None else (32,))
        losses["rsample"] = (z.square() + z).sum()
        for loss in losses.values():
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, found, strict=True):
                assert gradient is not None, name
                assert gradient.isfinite().all(), name
                assert gradient.abs().max() > 0, name


OPTIMISERS = {
    "plain": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def training_on_one_tensor(case: Case, optimiser: str = "fused") -> None:
    """5. Three optimiser steps on the same tensor; old samples score as by a fresh copy."""
    t = case.build()
    adam = torch.optim.Adam(t.parameters(), lr=0.05, **OPTIMISERS[optimiser])
    scored_after_steps(case, t, adam, adam.step)


def scored_after_steps(case: Case, t: FlowTransform, optimiser, step) -> None:
    context = case.context_of((16,))
    flow = case.flow(t)
    batch = () if context is not None else (16,)
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
                torch.testing.assert_close(scorer.log_prob(y), fresh.log_prob(y.detach().clone()))
        assert not torch.allclose(flow(context).log_prob(data), before)


def _rebuilt(case: Case, t: FlowTransform) -> FlowTransform:
    new = case.build(seed=0, training=t.training)
    new.load_state_dict(t.state_dict())
    return new


def conditioners_counted(case: Case) -> None:
    """6. One call per layer per `log_prob`; none for scoring a fresh `rsample`."""
    for training in (False, True):
        t = case.build(training=training)
        counters = counted(t, Coupling)
        context = case.context_of()
        batch = () if context is not None else (5,)
        bound = t if context is None else t.condition(context)
        everything = [case.flow(t)(context), dist.TransformedDistribution(case.base(), [bound])]
        for d in everything:
            y = d.sample(batch)
            assert {c.take() for c in counters} == {1}
            for value in (y, y.clone(), y):
                d.log_prob(value)
                assert {c.take() for c in counters} == {1}
            z = d.rsample(batch)
            assert {c.take() for c in counters} == {1}
            d.log_prob(z)
            d.log_prob(z)
            assert {c.take() for c in counters} == {0}


def copies(case: Case) -> None:
    """7. `deepcopy`, `pickle`, `state_dict` and `torch.load(weights_only=True)`, after use, all exact."""
    t = case.build()
    context = case.context_of()
    flow = case.flow(t)
    y = flow(context).rsample(() if context is not None else (5,))
    flow(context).log_prob(y)
    wanted = flow(context).log_prob(y.detach().clone())
    stored = io.BytesIO()
    torch.save(t.state_dict(), stored)
    stored.seek(0)
    loaded = case.build(seed=1)
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    if list(t.parameters()):
        assert not torch.equal(case.flow(case.build(seed=1))(context).log_prob(y), wanted)
    for new in (copy.deepcopy(t), pickle.loads(pickle.dumps(t)), loaded):
        assert torch.equal(case.flow(new)(context).log_prob(y.detach()), wanted)
    for new in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(new(context).log_prob(y.detach()), wanted)
        with torch.no_grad():
            for parameter in new.parameters():
                parameter += 1
        assert torch.equal(flow(context).log_prob(y.detach()), wanted)


def bad_rows(case: Case) -> None:
    """9. NaN or ±inf in a row gives NaN or ±inf out in that row and no other, or a ValueError."""
    t = case.build()
    for bad in (float("nan"), float("inf"), -float("inf")):
        context = case.context_of((3,))
        d = case.flow(t)(context)
        y = d.sample(() if context is not None else (3,))
        good = d.log_prob(y)
        for element in range(y[0].numel()):
            poisoned = y.clone(memory_format=torch.contiguous_format)
            poisoned[1].view(-1)[element] = bad
            try:
                found = d.log_prob(poisoned)
            except ValueError:
                continue
            assert not found[1].isfinite()
            assert torch.equal(found[[0, 2]], good[[0, 2]])


def mixed_precision(case: Case) -> None:
    """4. Under bfloat16 autocast only networks are coarse: the maps and their log-dets are not."""
    t = case.build()
    b = case.bound(t, (16,))
    x = case.noise(b, (16,))
    maps = {m for layer in t.modules() if isinstance(layer, NeuralODE | Residual) for m in layer.modules()}
    coarse = any(type(m).__module__.startswith(NETWORKS) for m in {*t.modules()} - maps)
    found = []
    for enabled in (False, True):
        with torch.autocast(device().type, torch.bfloat16, enabled=enabled):
            torch.manual_seed(0)
            y, forward = b.forward_and_log_det(x)
            torch.manual_seed(0)
            found.append((y, forward, *b.inverse_and_log_det(y)))
    for fine, cast in zip(*found, strict=True):
        assert cast.dtype == torch.float32
        torch.testing.assert_close(cast, fine, **({"atol": 0.3, "rtol": 0.3} if coarse else {}))


NETWORKS = ("pyro_flows.nn", "torch.nn.modules.linear", "torch.nn.modules.conv", "pyro.nn", "tests.")


def placement(case: Case) -> None:
    """10. With everything on the meta device, no operation touches a CPU tensor."""
    for training in (False, True):
        t = case.build(training=training)
        flow = case.flow(t).to("meta")
        context = case.context_of()
        context = None if context is None else context.to("meta").requires_grad_()
        y = torch.empty(5, *case.data_event(), device="meta", requires_grad=True)
        with NoCPU():
            z = flow(context).rsample(() if context is not None else (5,))
            (flow(context).log_prob(z).sum() + flow(context).log_prob(y).sum()).backward()
            flow(context).sample()
        assert y.grad.device.type == "meta"


LAWS = [
    round_trip,
    round_trip_float32,
    far_round_trip,
    log_det_is_jacobians,
    shapes,
    empty_batch,
    rows_are_independent,
    gradients,
    training_on_one_tensor,
    conditioners_counted,
    copies,
    bad_rows,
    mixed_precision,
    placement,
]


def has_parameters(t: FlowTransform) -> bool:
    return bool(list(t.parameters()))


def has_couplings(t: FlowTransform) -> bool:
    return any(isinstance(part, Coupling) for part in t.modules())


def is_unbounded(t: FlowTransform) -> bool:
    """Whether both sides are all of R^n: sigmoid and exp saturate far away."""
    sides = [t.domain, t.codomain]
    for i, side in enumerate(sides):
        while isinstance(side, constraints.independent):
            side = side.base_constraint
        sides[i] = side
    return all(side is constraints.real or side is constraints.real_vector for side in sides)


# What a law speaks of, where it does not speak of every transform.
ABOUT = {
    far_round_trip: is_unbounded,
    gradients: has_parameters,
    training_on_one_tensor: has_parameters,
    conditioners_counted: has_couplings,
}
