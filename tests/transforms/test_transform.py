"""`FlowTransform`: inverses, conditioning, registration, copies of what is bound, errors."""

import copy
import pickle

import pytest
import torch
from torch import nn

import pyro_flows as pf
from pyro_flows.transform import Conditioned

from ..cases.registry import CASES


def _conditional():
    return CASES["real-nvp-context"].build()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_inverse_of_inverse_is_the_transform(case):
    t = case.build()
    assert t.inv.inv is t
    assert (t.inv.domain, t.inv.codomain) == (t.codomain, t.domain)
    inverse = t.inv
    assert inverse is t.inv


def test_a_copied_inverse_is_its_own_inverses_inverse():
    inverse = copy.deepcopy(_conditional().inv)
    assert inverse.inv.inv is inverse


def test_inverse_registers_parameters():
    t = CASES["real-nvp"].build()
    wanted = set(t.parameters())
    assert set(nn.ModuleList([t.inv]).parameters()) == wanted
    assert set(pf.Chain([t.inv]).parameters()) == wanted
    assert set(pf.Flow([t.inv]).parameters()) == wanted


def test_conditioning_without_context_returns_the_transform():
    t = CASES["real-nvp"].build()
    assert t.condition(torch.randn(2)) is t
    inverse = t.inv
    assert inverse.condition(torch.randn(2)) is inverse


def test_conditioning_an_inverse():
    t, context, x = _conditional(), torch.randn(5, 2), torch.randn(5, 3)
    torch.testing.assert_close(t.inv.condition(context)(x), t.inverse_and_log_det(x, context)[0])
    bound = t.condition(context)
    torch.testing.assert_close(bound.inv(x), t.inverse_and_log_det(x, context)[0])


def test_bound_follows_modes_and_parameters():
    t = pf.real_nvp(3, depth=2, hidden=(6,), context_dim=2, norm=pf.transforms.BatchNorm)
    bound, y = t.condition(torch.randn(5, 2)), torch.randn(5, 3)
    bound.inv(y)
    weight = t.parts[1].moments.weight.clone()
    assert weight > 0
    t.eval()
    bound.inv(y.clone())
    assert torch.equal(t.parts[1].moments.weight, weight)
    assert set(bound.parameters()) == set(t.parameters())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_of_bound_detach_the_context(duplicate):
    t, leaf, x = _conditional(), torch.randn(5, 2, requires_grad=True), torch.randn(5, 3)
    bound = t.condition(leaf * 2)
    new = duplicate(bound)
    assert bound.context.requires_grad
    assert not new.context.requires_grad
    torch.testing.assert_close(new(x), bound(x), rtol=0, atol=0)
    assert "context" not in bound.state_dict()


def test_context_gets_its_gradient_through_a_bound_transform():
    t, context = _conditional(), torch.randn(5, 2, requires_grad=True)
    t.condition(context)(torch.randn(5, 3)).square().sum().backward()
    assert context.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("context", "x", "batch"), [((2,), (5, 3), (5,)), ((4, 2), (3,), (4,)), ((4, 1, 2), (5, 3), (4, 5))]
)
def test_context_broadcasts(context, x, batch):
    t, c, x = _conditional(), torch.randn(context), torch.randn(x)
    bound = t.condition(c)
    y, log_det = bound.forward_and_log_det(x)
    assert bound.forward_shape(x.shape) == y.shape == (*batch, 3)
    assert bound.inv.inverse_shape(x.shape) == (*batch, 3)
    assert log_det.shape == batch
    whole = t.forward_and_log_det(x.expand(*batch, 3), c.expand(*batch, 2))
    torch.testing.assert_close((y, log_det), whole)


def test_bad_contexts():
    t = _conditional()
    with pytest.raises(ValueError, match="context of event shape"):
        t.condition(torch.randn(5, 3))
    with pytest.raises(ValueError, match="takes no context"):
        Conditioned(CASES["real-nvp"].build(), torch.randn(2))
    with pytest.raises(ValueError, match="expected a context"):
        t.forward_and_log_det(torch.randn(5, 3))
    with pytest.raises(ValueError, match="expected a context"):
        t(torch.randn(5, 3))


ANY_SIZE = ("LogitPixels", "Dequantize", "variational_dequantize")


@pytest.mark.parametrize(
    "name",
    [n for n, c in CASES.items() if c.event and n != "chain-composed" and c.of not in ANY_SIZE],
)
def test_wrong_event_size_is_an_error(name):
    case = CASES[name]
    t = case.bound(case.build(), ())
    first, *rest = case.event
    with pytest.raises((ValueError, RuntimeError)):
        t.forward_and_log_det(torch.rand(first + 1, *rest))


def test_too_few_dimensions_is_a_clear_error():
    with pytest.raises(ValueError, match="expected event shape"):
        pf.real_nvp(3)(torch.tensor(1.0))


def test_transforms_are_hashable_and_distinct():
    first, second = CASES["real-nvp"].build(), CASES["real-nvp"].build()
    assert len({first, second, first}) == 2
    assert first != second
    assert first.with_cache() is first
