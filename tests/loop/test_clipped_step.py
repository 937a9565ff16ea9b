import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_flows.loop.clipped_step import ClippedStep, adam

OPTIMISERS = {
    "Adam": lambda p: adam(p, rate=0.1),
    "weight decay": lambda p: adam(p, rate=0.1, weight_decay=0.1),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "plain SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5),
}


def new(kind, **options):
    parameters = [torch.randn(3).requires_grad_(), torch.randn(2, 2, dtype=torch.float64).requires_grad_()]
    return parameters, ClippedStep(OPTIMISERS[kind](parameters), **{"clip": 1.0} | options)


def set_gradients(parameters, value=1.0):
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, value)


def tensors(step):
    state = step.optimizer.state_dict()["state"]
    return [*step.parameters, *(v for s in state.values() for v in s.values() if isinstance(v, torch.Tensor))]


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_gradient_or_loss_changes_nothing(kind, bad):
    parameters, step = new(kind)
    for _ in range(3):
        set_gradients(parameters)
        step()
    before = [t.detach().clone() for t in tensors(step)]
    set_gradients(parameters)
    parameters[1].grad[0, 1] = bad
    step()
    set_gradients(parameters)
    step(loss=torch.tensor(bad))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(step), strict=True))
    assert (int(step.skipped), int(step.in_a_row)) == (2, 2)
    set_gradients(parameters)
    step(loss=torch.tensor(1.0))
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters, strict=False))
    assert (int(step.skipped), int(step.in_a_row)) == (2, 0)


@pytest.mark.parametrize("kind", [kind for kind in OPTIMISERS if kind != "fused SGD"])  # which has to halt
def test_the_first_step_may_be_skipped(kind):
    skipping, plain = new(kind), new(kind)
    with torch.no_grad():
        for a, b in zip(skipping[0], plain[0], strict=True):
            b.copy_(a)
    for parameters, step in (skipping, plain):
        if step is skipping[1]:
            set_gradients(parameters, math.nan)
            step()
        for i in range(3):
            set_gradients(parameters, 0.1 * i)
            step()
    assert all(torch.equal(a, b) for a, b in zip(skipping[0], plain[0], strict=True))


def test_halting_skips_all_that_follow():
    parameters, step = new("Adam", halt=True)
    set_gradients(parameters, math.nan)
    step()
    before = [p.detach().clone() for p in parameters]
    for _ in range(4):
        set_gradients(parameters)
        step()
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert int(step.skipped) == 5


@given(scale=st.floats(0.1, 1e6), clip=st.floats(1e-3, 1e3))
def test_clipping_scales_the_gradient_to_the_bound(scale, clip):
    """Plain gradient descent moves by the clipped gradient itself: at most `clip`, along −g."""
    for fused in (True, False):
        parameter = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        step = ClippedStep(torch.optim.SGD([parameter], lr=1.0, fused=fused), clip=clip)
        parameter.grad = scale * torch.tensor([3.0, -4.0], dtype=torch.float64)
        step(0.5)
        wanted = -0.5 * min(1.0, clip / (5 * scale)) * scale * torch.tensor([3.0, -4.0], dtype=torch.float64)
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_gradient_too_large_for_single_precision_is_skipped(kind):
    parameters, step = new(kind)
    before = [p.detach().clone() for p in parameters]
    set_gradients(parameters)
    parameters[1].grad.fill_(1e200)
    step()
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert int(step.skipped) == 1


def test_without_a_bound_nothing_is_clipped():
    parameter = torch.zeros(2, requires_grad=True)
    step = ClippedStep(torch.optim.SGD([parameter], lr=1.0, fused=True), clip=math.inf)
    parameter.grad = torch.tensor([3e8, -4e8])
    step()
    assert parameter.tolist() == [-3e8, 4e8]


def test_each_groups_rate_is_multiplied():
    one, two = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    groups = [{"params": [one], "lr": 1.0}, {"params": [two], "lr": 0.1}]
    step = ClippedStep(torch.optim.SGD(groups, fused=True), clip=math.inf)
    for factor in (1.0, 0.5):
        one.grad, two.grad = torch.ones(1), torch.ones(1)
        step(factor)
    torch.testing.assert_close(torch.cat([one, two]).detach(), torch.tensor([-1.5, -0.15]))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_state_goes_on_with_the_same_bits(kind):
    whole, interrupted = new(kind), new(kind)
    with torch.no_grad():
        for a, b in zip(whole[0], interrupted[0], strict=True):
            b.copy_(a)
    gradients = [0.3, math.nan, -1.0, 2.0]
    for i, gradient in enumerate(gradients):
        for pair in (whole, interrupted):
            set_gradients(pair[0], gradient)
            pair[1](1 / (1 + i))
        if i == 1:
            again = ClippedStep(OPTIMISERS[kind](interrupted[0]), clip=1.0)
            again.load(interrupted[1].state())
            interrupted = interrupted[0], again
    assert all(torch.equal(a, b) for a, b in zip(whole[0], interrupted[0], strict=True))
    assert int(interrupted[1].skipped) == 1
