"""Autoregressive layers: masks, orders, passes, the slow direction, one dimension, the families."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyro_flows as pf
from pyro_flows.elementwise import Affine, RationalQuadratic
from pyro_flows.nn import MaskedNet
from pyro_flows.testing import perturb
from pyro_flows.testing.counting import Counting, counted
from pyro_flows.transforms import ActNorm, Autoregressive, BatchNorm, Monotone

orders = st.lists(st.integers(0, 4), min_size=2, max_size=6).filter(lambda ranks: len(set(ranks)) > 1)
widths = st.lists(st.integers(1, 9), min_size=1, max_size=3)
quick = settings(deadline=None, derandomize=True, max_examples=40)


def _net(ranks, num_params=2, hidden=(16, 12), **options) -> MaskedNet:
    net = MaskedNet(ranks, num_params, hidden, activation=nn.Tanh, **options).double()
    perturb(net, scale=0.5)
    return net


@quick
@given(ranks=orders, hidden=widths, context_dim=st.integers(0, 1))
def test_parameters_depend_on_lower_ranks_only(ranks, hidden, context_dim):
    net = _net(ranks, 3, hidden, context_dim=context_dim)
    context = (torch.randn(context_dim, dtype=torch.float64),) if context_dim else ()
    x = torch.randn(len(ranks), dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda x: net(x, *context), x).abs().sum(0)
    allowed = torch.tensor(ranks)[:, None] > torch.tensor(ranks)
    assert (slopes[~allowed] == 0).all()
    if min(hidden) >= 5:  # enough units for every degree
        assert (slopes[allowed] > 0).all()


@quick
@given(ranks=orders, hidden=widths, context_dim=st.integers(0, 1), seed=st.integers(0, 9))
def test_rank_by_rank_is_the_net(ranks, hidden, context_dim, seed):
    torch.manual_seed(seed)
    net = _net(ranks, 2, hidden, context_dim=context_dim)
    context = torch.randn(3, 1, context_dim, dtype=torch.float64) if context_dim else None
    x = torch.randn(3, 2, len(ranks), dtype=torch.float64)
    ordered = x[..., net.by_rank]
    rows, start, found = net.rank_by_rank(x, context), 0, []
    for size in net.sizes:
        found.append(rows(ordered[..., :start]))
        start += size
    torch.testing.assert_close(torch.cat(found, -1), net(x, context)[..., net.by_rank])


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("g", [Affine(), RationalQuadratic(4)], ids=str)
def test_both_ways_to_the_inverse_agree_with_their_gradients(g, context_dim):
    net = _net([2, 0, 1, 0, 3], g.num_params, context_dim=context_dim)
    shared, plain = Autoregressive(g, net), Autoregressive(g, Counting(net))  # which has no shortcut
    y = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    context = torch.randn(7, context_dim, dtype=torch.float64, requires_grad=True) if context_dim else None
    leaves = [y, *net.parameters(), *([] if context is None else [context])]
    found = [layer.inverse_and_log_det(y, context) for layer in (shared, plain)]
    torch.testing.assert_close(found[0], found[1])
    gradients = [torch.autograd.grad((x.sin().sum() + log_det.sum()), leaves) for x, log_det in found]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert plain.conditioner.calls == 4 == plain.passes


def test_gain_multiplies_the_last_layers_weights():
    plain, strong = _net([0, 1, 2], gain=1.0), MaskedNet([0, 1, 2], 2, (16, 12), activation=nn.Tanh, gain=4.0)
    strong = strong.double()
    strong.load_state_dict(plain.state_dict())
    x = torch.randn(5, 3, dtype=torch.float64)
    bias = plain.last.bias.unflatten(0, (2, 3))
    torch.testing.assert_close(strong(x) - bias, 4 * (plain(x) - bias))


def test_slow_gradients_are_finite_differences():
    layer = Autoregressive(Affine(), _net([1, 2, 0]))
    y = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer.inverse_and_log_det, y)
    assert torch.autograd.gradgradcheck(layer.inverse_and_log_det, y)


@pytest.mark.parametrize("family", [pf.maf, pf.iaf])
def test_the_fast_direction_calls_each_net_once(family):
    t = family(4, depth=3, hidden=(8,))
    nets = counted(t, Autoregressive)
    flow = pf.Flow(t)
    y = flow().sample((5,)) if family is pf.maf else torch.randn(5, 4)
    for net in nets:
        net.take()
    if family is pf.maf:
        flow().log_prob(y.clone())
    else:
        flow().log_prob(flow().rsample((5,)))
    assert [net.calls for net in nets] == [1, 1, 1]


def test_inverse_of_iaf_is_maf():
    torch.manual_seed(0)
    maf = pf.maf(3, depth=1, hidden=(8,))
    perturb(maf)
    iaf = pf.iaf(3, depth=1, hidden=(8,))
    iaf[0].load_state_dict(maf[0].transform.state_dict())
    x = torch.randn(5, 3)
    torch.testing.assert_close(iaf.inv(x), maf(x))


def test_a_built_flow_equals_the_closed_form_gaussian():
    """y_2 | y_1 ~ N(½ y_1, 1): a masked net without nonlinearity can say just that."""
    flow = pf.Flow(pf.maf(2, depth=1, hidden=(1,), activation=nn.Identity)).double()
    net = flow.transform[0].transform.conditioner
    with torch.no_grad():
        for layer in (net.first, net.last):
            layer.weight.zero_()
            layer.bias.zero_()
        net.first.weight[0, 0] = 1.0
        net.last.weight[1, 0] = 0.5 / net.gain  # the second element's shift
    covariance = torch.tensor([[1.0, 0.5], [0.5, 1.25]], dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    y = 3 * torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(flow().log_prob(y), truth.log_prob(y))


@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_spline_flow_integrates_to_one(autoregressive):
    flow = pf.Flow(pf.nsf(2, depth=2, hidden=(8,), autoregressive=autoregressive)).double()
    perturb(flow, scale=0.1 if autoregressive else 0.01)  # stronger splines would need a finer grid
    side = torch.linspace(-8, 8, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        total = flow().log_prob(grid).exp().sum() * (16 / 400) ** 2
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("family", [pf.maf, pf.iaf, pf.nsf])
def test_families_start_as_the_identity_and_say_what_they_need(family):
    x = torch.randn(5, 3)
    torch.testing.assert_close(family(3).forward_and_log_det(x), (x, torch.zeros(5)))
    assert getattr(pf, family.__name__) is family
    for options in ({"input_dim": 0}, {"input_dim": 3, "depth": 0}):
        with pytest.raises(ValueError, match=next(reversed(options))):
            family(**options)


def test_parts_of_the_families():
    assert [type(part.transform) for part in pf.maf(3, depth=2)] == [Autoregressive] * 2
    assert [type(part) for part in pf.iaf(3, depth=2)] == [Autoregressive] * 2
    assert [type(part) for part in pf.iaf(1, depth=2)] == [Monotone] * 2
    for norm in (BatchNorm, ActNorm):
        assert [type(part) for part in pf.iaf(3, depth=1, norm=norm)] == [Autoregressive, norm]
    first, second = pf.iaf(4, depth=2)
    assert first.ranks.tolist() == [0, 1, 2, 3]
    assert second.ranks.tolist() == [3, 2, 1, 0]
    assert pf.maf(7, passes=2)[0].transform.passes == 2
    assert pf.iaf(7, passes=2)[0].ranks.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("passes", [0, 4])
def test_bad_passes_are_an_error(passes):
    with pytest.raises(ValueError, match="passes"):
        pf.maf(3, passes=passes)


def test_weights_of_another_order_are_refused():
    with pytest.raises(ValueError, match="ranks"):
        MaskedNet([0, 1, 2], 2).load_state_dict(MaskedNet([2, 1, 0], 2).state_dict())


def test_ranks_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="two ranks"):
        MaskedNet([0, 0], 2)
    with pytest.raises(ValueError, match="rank"):
        Autoregressive(Affine(), nn.Linear(3, 6))
    with pytest.raises(ValueError, match="conditioner"):
        Autoregressive(Affine(), nn.Linear(3, 5), [0, 1, 2])(torch.zeros(3))
    with pytest.raises(ValueError, match="conditioner"):
        Monotone(Affine(), (2,), nn.Linear(2, 4))


def test_one_dimension_given_a_context_learns():
    torch.manual_seed(0)
    context = torch.randn(2_000, 1)
    y = context.sin() + 0.1 * torch.randn(2_000, 1)
    flow = pf.Flow(pf.nsf(1, depth=1, context_dim=1, hidden=(16,), autoregressive=True))
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss = -flow(context).log_prob(y).mean()
        loss.backward()
        optimiser.step()
    entropy = 0.5 * torch.log(2 * torch.pi * torch.e * torch.tensor(0.01))
    assert loss < entropy + 0.15
