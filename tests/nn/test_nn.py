"""Conditioner networks and running moments."""

import pytest
import torch
from torch import nn

from pyro_flows.nn import MLP, ResidualNet, RunningMoments
from pyro_flows.nn.moments import batch_moments
from pyro_flows.testing import perturb

NETS = {
    "dense": lambda **o: MLP(3, 4, (8, 5), **o),
    "dense-one": lambda **o: MLP(3, 4, (8,), **o),
    "residual": lambda **o: ResidualNet(3, 4, 8, 2, **o),
    "residual-none": lambda **o: ResidualNet(3, 4, 8, 0, **o),
}
each = pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())


@each
@pytest.mark.parametrize("context_dim", [0, 2])
def test_starts_at_zero(make, context_dim):
    net = make(context_dim=context_dim)
    inputs = [torch.randn(5, 3)] + [torch.randn(5, 2)] * (context_dim > 0)
    assert not net(*inputs).any()
    perturb(net)
    assert net(*inputs).shape == (5, 4)
    assert net(*inputs).all()


@each
@pytest.mark.parametrize(
    ("x", "context", "batch"), [((), (), ()), ((7, 5), (5,), (7, 5)), ((5,), (4, 1), (4, 5))]
)
def test_context_broadcasts(make, x, context, batch):
    net = make(context_dim=2)
    perturb(net)
    x, context = torch.randn(*x, 3), torch.randn(*context, 2)
    found = net(x, context)
    assert found.shape == (*batch, 4)
    torch.testing.assert_close(found, net(x.expand(*batch, 3), context.expand(*batch, 2)))


@each
def test_every_parameter_gets_a_gradient(make):
    net = make(context_dim=2, activation=nn.Tanh)
    perturb(net)
    net(torch.randn(5, 3), torch.randn(5, 2)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


@each
def test_activation_may_be_a_function(make):
    torch.manual_seed(0)
    first = make(activation=torch.tanh)
    torch.manual_seed(0)
    second = make(activation=nn.Tanh)
    perturb(first)
    perturb(second)
    x = torch.randn(5, 3)
    assert torch.equal(first(x), second(x))


@each
def test_missing_context_is_an_error(make):
    with pytest.raises(ValueError, match="context"):
        make(context_dim=2)(torch.randn(5, 3))


def test_no_hidden_layer_is_an_error():
    with pytest.raises(ValueError, match="hidden"):
        MLP(3, 4, ())


def test_batch_moments_by_hand():
    y = torch.randn(6, 2, 3, dtype=torch.float64)
    y[4, 1, 2] = float("nan")
    kept = y[[0, 1, 2, 3, 5]]
    mean, variance, rows = batch_moments(y, 2)
    columns = kept.transpose(0, 1).reshape(2, -1)
    torch.testing.assert_close((mean, variance), (columns.mean(1), columns.var(1, unbiased=False)))
    assert rows == 5


def test_batch_moments_far_from_zero_keep_their_precision():
    y = torch.randn(1000, 2) + 1e4
    _, variance, _ = batch_moments(y)
    torch.testing.assert_close(variance, y.double().var(0, unbiased=False).float(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_running_moments_refuse_a_bad_decay(decay):
    with pytest.raises(ValueError, match="decay"):
        RunningMoments(2, decay)


def test_the_gain_multiplies_the_last_layers_weights_alone():
    plain, gained = MLP(3, 4, (8,)), MLP(3, 4, (8,), gain=3.0)
    perturb(plain)
    gained.load_state_dict(plain.state_dict())
    x, bias = torch.randn(5, 3), plain.last.bias
    torch.testing.assert_close(gained(x) - bias, 3 * (plain(x) - bias))


def test_the_spread_sharpens_the_activation_at_the_start():
    def sharp(z):
        return torch.nn.functional.gelu(2.5 * z) / 2.5

    nets = []
    for options in ({"spread": 2.5, "activation": torch.nn.GELU}, {"activation": sharp}):
        torch.manual_seed(0)
        nets.append(MLP(3, 4, (8, 5), context_dim=2, **options))
        torch.nn.init.normal_(nets[-1].last.weight)
    x, context = torch.randn(6, 3), torch.randn(6, 2)
    torch.testing.assert_close(nets[0](x, context), 2.5 * nets[1](x, context))


def test_a_net_reads_far_rows_through_its_squash():
    plain, squashed = MLP(2, 3, (8,)), MLP(2, 3, (8,), squash=torch.asinh)
    perturb(plain)
    squashed.load_state_dict(plain.state_dict())
    x = torch.tensor([[0.5, -1.0], [1e3, -1e6], [3e38, 0.0]])
    torch.testing.assert_close(squashed(x), plain(x.asinh()))
    assert squashed(torch.tensor([[torch.nan, 0.0]])).isnan().all()
