"""Coupling families of vectors: their parts, their errors, and that large ones start finite and train."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows.elementwise import Additive, Affine
from pyro_flows.transforms import ActNorm, BatchNorm, Coupling, DiagonalScaling

every = pytest.mark.parametrize("family", [pf.nice, pf.real_nvp])


@every
def test_families_are_public(family):
    assert getattr(pf, family.__name__) is family


@every
@pytest.mark.parametrize("input_dim", [1, 0])
def test_one_dimension_is_a_clear_error(family, input_dim):
    with pytest.raises(ValueError, match=r"input_dim ≥ 2.*one dimension"):
        family(input_dim)


@every
def test_bad_depth_is_an_error(family):
    with pytest.raises(ValueError, match="depth"):
        family(2, depth=0)


@every
def test_starts_as_the_identity(family):
    x = torch.randn(5, 3)
    torch.testing.assert_close(family(3).forward_and_log_det(x), (x, torch.zeros(5)))


@every
def test_every_element_moves_and_every_element_is_read(family):
    t = family(4, hidden=(6,), activation=torch.nn.Tanh)
    for p in t.parameters():
        torch.nn.init.normal_(p, std=0.5)
    jacobian = torch.autograd.functional.jacobian(lambda x: t.forward_and_log_det(x)[0], torch.randn(4))
    assert (jacobian != 0).all()


def test_parts():
    assert [type(part) for part in pf.nice(3, depth=2)] == [DiagonalScaling, Coupling, Coupling]
    assert all(isinstance(part.elementwise, Additive) for part in pf.nice(3, depth=2)[1:2])
    assert [type(part) for part in pf.real_nvp(3, depth=3)] == [Coupling] * 3
    assert all(isinstance(part.elementwise, Affine) for part in pf.real_nvp(3))
    for norm in (BatchNorm, ActNorm):
        assert [type(part) for part in pf.real_nvp(3, depth=2, norm=norm)] == [Coupling, norm] * 2
    swaps = [part.partition.swap for part in pf.real_nvp(3, depth=4)]
    assert swaps == [False, True, False, True]


@pytest.mark.parametrize("size", [{"input_dim": 2, "depth": 64}, {"input_dim": 1024, "depth": 2}], ids=str)
@pytest.mark.parametrize("norm", [None, BatchNorm, ActNorm])
def test_large_flows_start_finite_and_train(size, norm):
    flow = pf.Flow(pf.real_nvp(**size, hidden=(32,), norm=norm))
    data = torch.randn(64, size["input_dim"]) * 3 + 1
    data[:, 1] = data[:, 0].sin() + 0.3 * data[:, 1]
    _trains(flow, data)


def test_large_nice_starts_finite_and_trains():
    _trains(pf.Flow(pf.nice(1024, hidden=(32,)), pf.bases.logistic(1024)), torch.randn(64, 1024) * 3 + 1)


def _trains(flow, data):
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-4)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = -flow().log_prob(data).mean()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in flow.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[1] < float("inf")
    assert flow().sample((5,)).isfinite().all()


def test_the_conditioners_may_be_plain():
    nets = [part.conditioner for part in pf.real_nvp(3, depth=2, net=pf.nn.MLP)]
    assert all(net.squash is None and net.last.gain == 1 for net in nets)
    assert all(part.conditioner.squash is torch.asinh for part in pf.real_nvp(3, depth=2))
