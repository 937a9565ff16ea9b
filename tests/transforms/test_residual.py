"""Residual flows: contraction, iteration, and the estimators."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows.nn import LipschitzNet
from pyro_flows.nn.lipschitz import SpectralLinear
from pyro_flows.testing import perturb
from pyro_flows.transforms import Determinant, Residual, Roulette


def block(dim=3, hidden=(8, 7), seed=0, scale=1.0, **options):
    """A block whose weights are large enough to be scaled, and u and v up to date."""
    torch.manual_seed(seed)
    net = LipschitzNet(dim, hidden, **{"coefficient": 0.9} | options).double()
    perturb(net, seed, scale)
    for _ in range(100):
        net.contraction(torch.zeros(options.get("context_dim", 0)).double())
    return Residual(net.eval())


def test_a_spectral_layer_stretches_by_at_most_its_coefficient():
    torch.manual_seed(0)
    for scale in (0.01, 10.0):
        layer = SpectralLinear(7, 5, 0.8).double()
        with torch.no_grad():
            layer.weight.normal_().mul_(scale)
        for _ in range(200):
            layer(torch.zeros(7).double())
        norm = torch.linalg.matrix_norm(layer.weight * layer.eval().scale(), 2)
        full = torch.linalg.matrix_norm(layer.weight, 2)
        torch.testing.assert_close(norm, full.clamp(max=0.8), rtol=1e-6, atol=0)


def test_u_and_v_are_buffers_that_only_training_moves():
    layer = SpectralLinear(4, 3)
    with torch.no_grad():
        layer.weight.normal_()
    assert set(layer.state_dict()) == {"weight", "bias", "u", "v"}
    before = layer.u.clone()
    with torch.no_grad():
        layer(torch.zeros(4))
    layer.eval()(torch.zeros(4))
    assert torch.equal(layer.u, before)
    layer.train()(torch.zeros(4)).sum().backward()
    assert not torch.equal(layer.u, before)
    assert layer.u.grad_fn is None
    assert not layer.u.requires_grad


def test_the_net_contracts_and_the_jacobian_is_right():
    g = block(seed=1, scale=3.0).net
    one, other = torch.randn(2, 500, 3).double()
    ratio = (g(one) - g(other)).norm(dim=-1) / (one - other).norm(dim=-1)
    assert ratio.max() < g.bound
    contraction = g.contraction()
    value, slopes = contraction.linearised(one[:4])
    jacobian = contraction.jacobian(slopes)
    ones = torch.randn(4, 3).double()
    for i in range(4):
        wanted = torch.autograd.functional.jacobian(g, one[i])
        torch.testing.assert_close(jacobian[i], wanted)
        torch.testing.assert_close(contraction.push(slopes, ones)[i], wanted @ ones[i])
        torch.testing.assert_close(contraction.pull(slopes, ones)[i], wanted.T @ ones[i])
    torch.testing.assert_close(value, g(one[:4]))


@pytest.mark.parametrize("log_det", [Determinant(), Roulette()], ids=str)
def test_sampling_solves_the_block_and_has_its_gradient(log_det):
    t = block(context_dim=2)
    t.log_det = log_det
    x, context = torch.randn(6, 3).double().requires_grad_(), torch.randn(6, 2).double().requires_grad_()
    y = t.forward_and_log_det(x, context)[0]
    torch.testing.assert_close(y + t.net(y, context), x, atol=1e-10, rtol=1e-10)
    leaves = [x, context, *t.parameters()]
    found = torch.autograd.grad(y.square().sum(), leaves, retain_graph=True)
    # Implicitly: w solves (I + J)ᵀ w = 2 y, and the gradients are w's through x − g(y).
    fixed = y.detach()
    w = torch.stack(
        [
            torch.linalg.solve(
                torch.eye(3).double()
                + torch.autograd.functional.jacobian(lambda z, i=i: t.net(z, context[i]), fixed[i]).T,
                2 * fixed[i],
            )
            for i in range(6)
        ]
    )
    wanted = torch.autograd.grad(((x - t.net(fixed, context)) * w.detach()).sum(), leaves)
    digits = 1e-8 if log_det == Determinant() else 1e-5  # the series ends somewhere
    torch.testing.assert_close(found, wanted, atol=digits, rtol=digits)


def test_the_roulette_is_unbiased_in_value_and_gradient():
    t = block(dim=3, hidden=(6,), scale=2.0, seed=2)
    parameters = [p for name, p in t.net.named_parameters() if name != "layers.1.bias"]  # no part of J
    y = torch.randn(3).double()
    exact = t.inverse_and_log_det(y)[1]
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact, parameters)])
    t.log_det = Roulette(terms=2)
    torch.manual_seed(0)
    values, gradients = [], []
    for _ in range(1000):  # N is drawn once a call
        found = t.inverse_and_log_det(y)[1]
        values.append(found.detach())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(found, parameters)]))
    values, gradients = torch.stack(values), torch.stack(gradients)
    assert (values.mean() - exact).abs() < 4 * values.std() / 1000**0.5
    error = (gradients.mean(0) - wanted).abs() / (gradients.std(0) / 1000**0.5 + 1e-12)
    assert error.max() < 4.5
    assert exact.abs() > 0.1


def test_the_roulette_samples_a_strong_block_with_the_exact_gradient():
    net = LipschitzNet(3, (3,), coefficient=0.97).double()
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.copy_(10 * torch.linalg.qr(torch.randn(3, 3))[0])
            net.contraction()
        net.sharpness.fill_(3.0)
    t = Residual(net.eval())
    torch.manual_seed(0)
    x = torch.randn(50, 3).double().requires_grad_()
    found = []
    for log_det in (Determinant(), Roulette()):
        t.log_det = log_det
        y = t.forward_and_log_det(x)[0]
        found.append((y, torch.autograd.grad(y.square().sum(), [x, *net.layers.parameters()])))
    torch.testing.assert_close(*found, atol=1e-9, rtol=1e-9)
    g = net.contraction()
    jacobian = g.jacobian(g.linearised(y)[1])
    assert torch.linalg.matrix_norm(jacobian, 2).max() > 0.85  # 40 terms would leave a thousandth
    bad = torch.where(torch.arange(50)[:, None] == 7, torch.nan, x.detach())
    again = t.forward_and_log_det(bad)[0]
    assert again[7].isnan().all()
    others = torch.arange(50) != 7
    torch.testing.assert_close(again[others], y[others].detach(), atol=1e-9, rtol=1e-9)


def test_the_roulettes_backward_pass_keeps_no_more_for_more_terms():
    t, y, kept = block(), torch.randn(4, 3).double(), []

    def count(tensor):
        kept[-1] += tensor.numel()
        return tensor

    for terms in (2, 40):
        t.log_det = Roulette(terms)
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            assert t.inverse_and_log_det(y)[1].requires_grad
    assert kept[0] == kept[1] > 0


def test_two_dimensions_have_their_own_determinant():
    g = block(2).net.contraction()
    x = torch.randn(5, 2).double()
    jacobian = g.jacobian(g.linearised(x)[1])
    wanted = torch.linalg.slogdet(torch.eye(2).double() + jacobian).logabsdet
    torch.testing.assert_close(Determinant()(g, x)[1], wanted)


def test_an_iteration_that_does_not_arrive_raises():
    t = block(scale=3.0)
    t.max_iterations = 2
    with pytest.raises(RuntimeError, match="expected the iteration to move y by at most"):
        t(torch.randn(4, 3).double())
    loose = Residual(t.net, tolerance=0.5, max_iterations=50)
    x = torch.randn(4, 3).double()
    assert (loose.inv(loose(x)) - x).abs().max() < 0.5
    bad = torch.full((4, 3), torch.nan).double()
    assert block()(bad).isnan().all()


def test_the_density_integrates_to_one_and_many_dimensions_take_the_roulette():
    torch.manual_seed(0)
    flow = pf.Flow(pf.residual(2, depth=2, hidden=(8,))).double()
    perturb(flow, scale=1.0)
    axis = torch.linspace(-15, 15, 301).double()
    with torch.no_grad():
        total = (
            flow.eval()().log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
        )
    assert abs(total - 1) < 1e-3
    assert pf.residual(17, depth=1, hidden=(4,))[0].log_det == Roulette()
    assert pf.residual(16, depth=1, hidden=(4,))[0].log_det == Determinant()


def test_training_keeps_the_block_invertible():
    torch.manual_seed(0)
    flow = pf.Flow(pf.residual(2, depth=3, hidden=(16,)))
    data = pf.datasets.TwoMoons(noise=0.1).sample((1000,))
    before = flow().log_prob(data).mean()
    pf.fit(flow, data, epochs=6, batch_size=100, learning_rate=1e-2, progress=False)
    with torch.no_grad():
        assert flow().log_prob(data).mean() > before + 0.15
        y = flow().sample((500,))
        x = flow.transform.inverse_and_log_det(y)[0]
        torch.testing.assert_close(flow.transform.forward_and_log_det(x)[0], y, atol=1e-4, rtol=1e-4)
    for layer in flow.modules():
        if isinstance(layer, SpectralLinear):
            assert torch.linalg.matrix_norm(layer.weight * layer.scale(), 2) < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LipschitzNet(0), "input_dim"),
        (lambda: LipschitzNet(2, ()), "hidden"),
        (lambda: LipschitzNet(2, coefficient=1.0), "coefficient"),
        (lambda: Residual(LipschitzNet(2), tolerance=0.0), "tolerance"),
        (lambda: Residual(LipschitzNet(2), max_iterations=0), "max_iterations"),
        (lambda: Roulette(terms=0), "terms"),
        (lambda: Roulette(stop=1.0), "stopping"),
        (lambda: pf.residual(2, depth=0), "depth"),
        (lambda: pf.residual(2, context_dim=1)(torch.zeros(5, 2)), "context"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_new_net_uses_its_bound_and_bends_within_the_data():
    torch.manual_seed(0)
    net = LipschitzNet(2, (64, 64))
    for layer in list(net.layers)[:-1]:
        norms = torch.linalg.matrix_norm(layer.weight * layer.scale(), 2)
        torch.testing.assert_close(norms, torch.tensor(0.97), rtol=1e-4, atol=0)
    contraction = net.contraction()
    slopes = contraction.linearised(torch.randn(1000, 2))[1]
    assert all(slope.std(0).mean() > 0.1 for slope in slopes)
