"""Continuous flows: what the laws, with their small solvers, cannot see."""

import sys

import pytest
import torch
from torch import nn
from torchdiffeq._impl import rk_common

import pyro_flows as pf
from pyro_flows.nn import VelocityNet
from pyro_flows.ode import Adaptive, Checkpointed, Exact, Hutchinson, RungeKutta
from pyro_flows.testing import perturb
from pyro_flows.transforms import NeuralODE

TIGHT = Adaptive(rtol=1e-9, atol=1e-9)


class Plain(nn.Module):
    """Another module without its methods."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, x, context=None):
        return self.net(t, x, context)


class Linear(nn.Module):
    """v = A x, whose flow is the matrix exponential."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, t, x, context=None):
        return x @ self.matrix.T


def moved(solver, dim=2, seed=0, **options):
    torch.manual_seed(seed)
    flow = pf.ffjord(dim, hidden=(16, 16), solver=solver, **options).double()
    perturb(flow, seed, 0.06)  # the net's gain makes more of it
    return flow


@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU, nn.Softplus, nn.ELU, nn.GELU, torch.sin])
@pytest.mark.parametrize("hidden", [(7,), (7, 6), (7, 6, 5)])
def test_the_net_knows_its_jacobian(hidden, activation):
    torch.manual_seed(0)
    net = VelocityNet(3, hidden, context_dim=2, activation=activation).double()
    perturb(net)
    x, context = torch.randn(4, 1, 3).double(), torch.randn(5, 2).double()
    t = torch.rand(4, 5).double()
    v, trace = net.forward_and_trace(t, x, context)
    torch.testing.assert_close(v, net(t, x, context))
    probes = torch.randn(2, 4, 5, 3).double()
    again, pushed = net.pushforward(t, x, probes, context)
    torch.testing.assert_close(again, v)
    for i in range(4):
        for j in range(5):
            jacobian = torch.autograd.functional.jacobian(
                lambda z, i=i, j=j: net(t[i, j], z, context[j]), x[i, 0]
            )
            torch.testing.assert_close(trace[i, j], jacobian.trace())
            torch.testing.assert_close(pushed[:, i, j], probes[:, i, j] @ jacobian.T)
    whole = x.expand(4, 5, 3).contiguous()
    torch.testing.assert_close(Exact()(Plain(net), t, whole, context), (v, trace))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_a_round_trip_is_within_the_tolerance(tolerance):
    flow = moved(Adaptive(rtol=tolerance, atol=tolerance))
    x = torch.randn(200, 2).double()
    y, forward = flow.forward_and_log_det(x)
    forward_evaluations = flow.evaluations
    back, inverse = flow.inverse_and_log_det(y)
    for error in (back - x, forward + inverse):
        assert error.square().mean().sqrt() < 20 * tolerance
        assert error.abs().max() < 100 * tolerance
    assert (y - x).abs().max() > 0.1
    assert forward_evaluations > 6


def test_fewer_evaluations_at_a_looser_tolerance():
    counts = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        flow = moved(Adaptive(rtol=tolerance, atol=tolerance))
        flow.inverse_and_log_det(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double())
        counts.append(flow.evaluations)
    assert counts == sorted(counts)
    assert len(set(counts)) == 3
    fixed = moved(RungeKutta(5))
    fixed(torch.randn(3, 2).double())
    assert fixed.evaluations == 20


@pytest.mark.parametrize("solver", [TIGHT, RungeKutta(100), Adaptive("dopri8", 1e-9, 1e-9)], ids=str)
def test_a_linear_field_gives_the_matrix_exponential(solver):
    torch.manual_seed(0)
    matrix = torch.randn(3, 3).double()
    ode = NeuralODE(Linear(matrix), 3, solver=solver)
    x = torch.randn(10, 3).double()
    y, log_det = ode.forward_and_log_det(x)
    torch.testing.assert_close(y, x @ matrix.matrix_exp().T, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(log_det, matrix.trace().expand(10), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_fixed_methods_have_their_order_and_are_torchdiffeqs(method, order):
    def swing(t, state):
        return (torch.stack([state[0][1], -state[0][0]]) * (1 + t),)

    start = (torch.tensor([1.0, 0.0]).double(),)
    wanted = torch.tensor([1.5, 1.5]).double()
    wanted = torch.stack([wanted[0].cos(), -wanted[1].sin()])
    errors = [(RungeKutta(n, method)(swing, start, 0.0, 1.0)[0] - wanted).norm() for n in (20, 40)]
    assert abs((errors[0] / errors[1]).log2() - order) < 0.25
    theirs = Adaptive(method, options={"step_size": 1 / 20})(swing, start, 0.0, 1.0)[0]
    assert (theirs - wanted).norm() < 2 * errors[0]


@pytest.mark.parametrize("context_dim", [0, 2])
def test_the_adjoint_gives_the_gradient(context_dim):
    found = []
    for adjoint in (False, True):
        flow = moved(Adaptive(rtol=1e-9, atol=1e-9, adjoint=adjoint), context_dim=context_dim)
        y = torch.randn(20, 2, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        leaf = torch.ones(20, 2).double().requires_grad_()
        context = leaf.sin() if context_dim else None
        x, log_det = flow.inverse_and_log_det(y, context)
        before = flow.evaluations
        wanted = [y, *flow.parameters(), *([leaf] if context_dim else [])]
        found.append(torch.autograd.grad(x.square().sum() - log_det.sum(), wanted))
        assert (flow.evaluations > before) == adjoint
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("forwards", [False, True])
def test_checkpoints_give_the_gradient_of_the_steps(context_dim, forwards, monkeypatch):
    # Elsewhere torchdiffeq's gradient goes through the first step's length, too: a matter of the tolerance.
    fixed = torch.no_grad()(rk_common._select_initial_step)
    monkeypatch.setattr(rk_common, "_select_initial_step", fixed)
    found, kept = [], []
    for solver in (Adaptive(rtol=1e-3, atol=1e-3), Checkpointed(rtol=1e-3, atol=1e-3)):
        flow = moved(solver, context_dim=context_dim)
        y = torch.randn(20, 2, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        leaf = torch.ones(20, 2).double().requires_grad_()
        context = leaf.sin() if context_dim else None
        size = 0

        def count(tensor):
            nonlocal size
            size += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            x, log_det = (flow.forward_and_log_det if forwards else flow.inverse_and_log_det)(y, context)
        kept.append(size)
        before = flow.evaluations
        wanted = [y, *flow.parameters(), *([leaf] if context_dim else [])]
        found.append((x, log_det, torch.autograd.grad(x.square().sum() - log_det.sum(), wanted)))
    torch.testing.assert_close(*found, atol=1e-10, rtol=1e-10)
    assert kept[1] < kept[0] / 10
    assert flow.evaluations > before


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_field_is_asked_within_the_interval_only(adjoint):
    flow, seen = moved(Adaptive(adjoint=adjoint)), []
    flow.field.register_forward_pre_hook(lambda module, args: seen.append(float(args[0].detach())))
    flow.trace = Exact()
    flow.field.forward_and_trace = lambda t, x, context: (flow.field(t, x, context), 0 * x.sum(-1))
    y = flow(torch.randn(20, 2).double())
    y.sum().backward()
    flow.inv(y.detach().clone())
    assert len(seen) > 20
    assert min(seen) == 0
    assert max(seen) == 1


def test_the_log_det_is_the_jacobians_to_a_tight_tolerance():
    flow = moved(TIGHT, 3)
    x = torch.randn(3).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: flow.forward_and_log_det(z)[0], x)
    torch.testing.assert_close(
        flow.forward_and_log_det(x)[1], torch.linalg.slogdet(jacobian).logabsdet, atol=1e-7, rtol=1e-7
    )


def test_the_density_integrates_to_one():
    flow = pf.Flow(moved(RungeKutta(30)))
    axis = torch.linspace(-12, 12, 161).double()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow().log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("probes", [1, 4])
def test_hutchinsons_estimate_is_unbiased_and_fixed_in_a_solve(probes):
    flow = moved(RungeKutta(4), 5)
    y = torch.randn(3, 5).double()
    wanted = flow.inverse_and_log_det(y)[1]
    flow.trace = Hutchinson(probes)
    found = flow.inverse_and_log_det(y.expand(4000, 3, 5))[1]
    error = (found.mean(0) - wanted).abs() / (found.std(0) / 4000**0.5)
    assert error.max() < 4
    assert found.std(0).min() > 0.01
    # With new noise at each evaluation an adaptive solver would find no step short enough.
    flow.solver = Adaptive(rtol=1e-7, atol=1e-7)
    torch.manual_seed(0)
    one = flow.inverse_and_log_det(y)
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(one, flow.inverse_and_log_det(y), strict=True))


def test_penalties_of_a_linear_field():
    torch.manual_seed(0)
    matrix = torch.randn(3, 3).double() * 0.5
    ode = NeuralODE(Linear(matrix), 3, solver=RungeKutta(50))
    y = torch.randn(2000, 3).double()
    x, log_det, penalties = ode.inverse_with_penalties(y)
    torch.testing.assert_close((x, log_det), ode.inverse_and_log_det(y))
    times = (torch.arange(1000).double() + 0.5) / 1000
    paths = torch.stack([x @ (matrix * t).matrix_exp().T @ matrix.T for t in times])
    torch.testing.assert_close(penalties.kinetic, paths.square().sum(-1).mean(0), rtol=1e-4, atol=1e-4)
    error = penalties.jacobian.mean() - matrix.square().sum()
    assert abs(error) < 4 * penalties.jacobian.std() / 2000**0.5


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_bad_row_does_not_stop_an_adaptive_solver(adjoint):
    flow = moved(Adaptive(rtol=1e-6, atol=1e-6, adjoint=adjoint), context_dim=1)
    y, context = torch.randn(6, 2).double(), torch.randn(6, 1).double()
    x, log_det = flow.inverse_and_log_det(y, context)
    y[1, 0], y[2, 1], context[3, 0] = torch.nan, torch.inf, torch.nan
    bad_x, bad_log_det = flow.inverse_and_log_det(y, context)
    bad = torch.tensor([False, True, True, True, False, False])
    assert bad_x[bad].isnan().all()
    assert bad_log_det[bad].isnan().all()
    torch.testing.assert_close(
        (bad_x[~bad], bad_log_det[~bad]), (x[~bad], log_det[~bad]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU])
@pytest.mark.parametrize("solver", [Adaptive(), RungeKutta(8)], ids=str)
def test_far_away_nothing_becomes_nan(solver, activation):
    flow = moved(solver, activation=activation).float()
    for size in (1e3, 1e6):
        y = torch.tensor([[size, -size], [-size, size], [0.0, size], [0.5, -0.5]])
        for value in (*flow.inverse_and_log_det(y), *flow.forward_and_log_det(y)):
            assert value.isfinite().all()


def test_a_solver_that_gives_up_says_so():
    flow = moved(Adaptive(max_steps=1, rtol=1e-9, atol=1e-9))
    with pytest.warns(UserWarning, match="max_num_steps"):
        assert flow(torch.randn(4, 2).double()).isnan().all()
    with torch.no_grad():
        flow.field.last.bias[0] = torch.nan
    with pytest.warns(UserWarning, match="gave up"):
        assert flow(torch.randn(4, 2).double()).isnan().all()


def test_a_checkpointed_solver_that_gives_up_has_no_gradient():
    flow = moved(Checkpointed(max_steps=3, rtol=1e-9, atol=1e-9))
    with pytest.warns(UserWarning, match="max_num_steps"):
        y = flow(torch.randn(4, 2).double())
    assert y.isnan().all()
    assert all(g.isnan().any() for g in torch.autograd.grad(y.sum(), list(flow.parameters())))


def test_fit_names_an_ode_that_becomes_nan():
    flow = pf.Flow(pf.ffjord(2, hidden=(8,)))
    before = [p.detach().clone() for p in flow.parameters()]
    data = torch.randn(64, 2)
    with (
        pytest.warns(UserWarning, match="gave up"),
        pytest.raises(pf.training.NonFiniteLoss, match="NeuralODE"),
    ):
        pf.fit(flow, data, epochs=3, learning_rate=1e30, schedule=lambda _: 1.0, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, flow.parameters(), strict=True))


def test_torchdiffeq_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ImportError, match=r"pyro-flows\[continuous\]"):
        pf.ffjord(2)
    assert pf.ffjord(2, solver=RungeKutta())(torch.zeros(3, 2)).shape == (3, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RungeKutta(0), "steps"),
        (lambda: RungeKutta(method="rk5"), "rk5"),
        (lambda: Adaptive(rtol=0.0), "rtol"),
        (lambda: Hutchinson(0), "probes"),
        (lambda: pf.ffjord(0), "input_dim"),
        (lambda: pf.ffjord(2, hidden=()), "hidden"),
        (lambda: NeuralODE(VelocityNet(3), 2).velocity(torch.zeros(()), torch.zeros(3)), "field"),
        (lambda: pf.ffjord(2)(torch.zeros(5, 3)), "event shape"),
        (lambda: pf.ffjord(2, context_dim=3)(torch.zeros(5, 2)), "context"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
