"""Losses of continuous flows beside the likelihood."""

import itertools
import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.ode import Adaptive, RungeKutta
from pyro_flows.testing import perturb
from pyro_flows.training import FlowMatching, PenalisedLikelihood, optimal_transport
from pyro_flows.training.flow_matching import _averaged


def flow_of(dim=2, *after, **options):
    torch.manual_seed(0)
    ode = pf.ffjord(dim, **{"hidden": (32, 32), "solver": RungeKutta(8)} | options)
    return pf.Flow([ode, *after])


def fit(flow, data, **options):
    settings = {"epochs": 20, "batch_size": 250, "learning_rate": 5e-3, "progress": False}
    return pf.fit(flow, data, **settings | options)


def test_optimal_transport_is_the_best_of_all_orders():
    torch.manual_seed(0)
    noise, data = torch.randn(5, 3), torch.randn(5, 3)
    orders = torch.stack([torch.tensor(p) for p in itertools.permutations(range(5))])
    costs = (noise[orders] - data).square().sum((-1, -2))
    found = optimal_transport(noise, data)
    torch.testing.assert_close((found - data).square().sum(), costs.min())
    assert {tuple(row.tolist()) for row in found} == {tuple(row.tolist()) for row in noise}


@pytest.mark.parametrize("coupling", [None, optimal_transport])
def test_a_gaussian_is_learnt_and_scored(coupling):
    truth = dist.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 0.3], [0.3, 1.5]]))
    torch.manual_seed(1)
    data, test = truth.sample((5000,)), truth.sample((2000,))
    flow = flow_of()
    before = (truth.log_prob(test) - flow().log_prob(test)).mean()
    history = fit(flow, data, loss=FlowMatching(coupling, late=False), epochs=8, batch_size=100)
    flow.transform.parts[0].solver = Adaptive()
    with torch.no_grad():
        gap = (truth.log_prob(test) - flow().log_prob(test)).mean()
    assert before > 1
    assert gap.abs() < 0.05
    assert history.best_epoch > 1


def test_transport_makes_straighter_paths():
    torch.manual_seed(1)
    data = pf.datasets.TwoMoons(noise=0.1).sample((3000,))
    lengths = []
    for coupling in (None, optimal_transport):
        flow = flow_of()
        fit(flow, data, loss=FlowMatching(coupling, late=False, averaged=False), epochs=10)
        with torch.no_grad():
            lengths.append(flow.transform.parts[0].inverse_with_penalties(data)[2].kinetic.mean())
    assert lengths[1] < 0.9 * lengths[0]


def test_the_expected_loss_of_a_known_path():
    """With v = 0, noise N(0, 1) and data a, the loss is |a|² + d on average."""
    flow, data = flow_of(3), torch.tensor([[1.0, 2.0, -1.0]]).expand(20_000, 3)
    torch.manual_seed(2)
    for loss in (FlowMatching(averaged=False), FlowMatching(sigma=0.5, averaged=False)):
        assert abs(loss(flow, data).mean() - 9.0) < 0.15


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_the_averaged_velocity_is_that_of_the_posterior(sigma):
    torch.manual_seed(0)
    start, data = torch.randn(2, 6, 2).double()
    t = torch.tensor([0.0, 0.3, 0.6, 0.9, 0.98, 0.999]).double()
    here = torch.lerp(start, data, t[:, None]) + sigma * torch.randn(6, 2).double()
    found = _averaged(here, t, start, data, sigma)
    for i in range(5):
        scale = math.hypot(1 - t[i], sigma)
        likely = dist.Normal(t[i] * data, scale).to_event(1).log_prob(here[i]).softmax(0)
        x_0 = (1 - t[i]) * (here[i] - t[i] * data) / scale**2  # its mean, for each x_1
        torch.testing.assert_close(found[i], (likely[:, None] * (data - x_0)).sum(0))
    torch.testing.assert_close(found[5], (data - start)[5])


@pytest.mark.parametrize("late", [False, True])
def test_averaging_leaves_the_gradient_and_takes_noise(late):
    flow = flow_of().double()
    perturb(flow)
    truth = pf.datasets.TwoMoons(noise=0.1, like=torch.zeros((), dtype=torch.float64))
    torch.manual_seed(0)
    differences, losses = [], []
    for i, batch in enumerate(truth.sample((400, 16))):
        both = []
        for averaged in (False, True):
            torch.manual_seed(i)  # the same noise and times
            loss = FlowMatching(late=late, averaged=averaged)(flow, batch).mean()
            slopes = torch.autograd.grad(loss, list(flow.parameters()))
            both.append((loss.detach(), torch.cat([g.flatten() for g in slopes])))
        losses.append(both[1][0] - both[0][0])
        differences.append(both[1][1] - both[0][1])
    differences = torch.stack(differences)
    assert differences.std(0).min() > 1e-3
    assert (differences.mean(0) / (differences.std(0) / 400**0.5)).abs().max() < 4.5
    assert torch.stack(losses).mean() < -0.3


@pytest.mark.parametrize(("late", "median"), [(True, 0.75), (False, 0.5)])
def test_times_have_their_density(late, median):
    seen = []

    class Field(torch.nn.Module):
        def forward(self, t, x, context=None):
            seen.append(t)
            return torch.zeros_like(x)

    flow = pf.Flow(pf.transforms.NeuralODE(Field(), 2, solver=RungeKutta(1)))
    torch.manual_seed(0)
    FlowMatching(late=late, averaged=False)(flow, torch.randn(20_000, 2))
    (t,) = seen
    assert t.min() >= 0
    assert t.max() <= 1
    torch.testing.assert_close(t.median(), torch.tensor(median), atol=0.015, rtol=0)


def test_velocities_are_averaged_if_they_can_be():
    plain, conditional = flow_of(), flow_of(context_dim=1)
    logistic = pf.Flow(pf.ffjord(2, hidden=(32, 32), solver=RungeKutta(8)), pf.bases.logistic(2))
    data = torch.randn(64, 2)
    for flow, coupling, context, averages in (
        (plain, None, None, True),
        (plain, optimal_transport, None, False),
        (conditional, None, data[:, :1], False),
        (logistic, None, None, False),
    ):
        losses = []
        for averaged in (None, averages):
            torch.manual_seed(0)
            losses.append(FlowMatching(coupling, averaged=averaged)(flow, data, context))
        assert torch.equal(*losses)


def test_what_stands_around_the_ode_is_undone():
    shift = torch.tensor([3.0, -1.0])
    data = torch.randn(50, 2) * 0.1 + shift
    plain = flow_of(2)
    framed = pf.Flow(
        [
            pf.transforms.reverse(2),
            plain.transform.parts[0],
            pf.transforms.Standardize(shift, torch.full((2,), 0.1)),
            dist.transforms.ExpTransform(),
        ]
    )
    torch.manual_seed(0)
    start = plain.base().sample((50,)).flip(-1)
    t = 1 - (1 - torch.rand(50)) ** 2
    end = (data - shift) / 0.1
    here = torch.lerp(start, end, t[:, None])
    wanted = (plain.transform.parts[0].velocity(t, here) - (end - start)).square().sum(-1)
    torch.manual_seed(0)
    torch.testing.assert_close(FlowMatching(averaged=False)(framed, data.exp()), wanted, rtol=1e-4, atol=1e-4)
    likelihood = PenalisedLikelihood(kinetic=0.0, jacobian=0.0)
    torch.testing.assert_close(likelihood(framed, data.exp()), -framed().log_prob(data.exp()))


def test_with_a_context():
    torch.manual_seed(1)
    context = torch.rand(4000, 1) * 4 - 2
    data = context.sin() * 2 + 0.3 * torch.randn(4000, 1)
    flow = pf.Flow(pf.ffjord(1, context_dim=1, hidden=(32, 32), solver=RungeKutta(8)))
    fit(flow, data, context=context, loss=FlowMatching())
    given = torch.tensor([[-1.5], [0.0], [1.5]])
    samples = flow(given).sample((2000,))
    torch.testing.assert_close(samples.mean(0), given.sin() * 2, atol=0.15, rtol=0)
    truth = dist.Normal(context.sin() * 2, 0.3).to_event(1).log_prob(data).mean()
    with torch.no_grad():
        assert truth - flow(context).log_prob(data).mean() < 0.1


def test_penalties_are_added_and_shorten_the_paths():
    torch.manual_seed(1)
    data = pf.datasets.TwoMoons(noise=0.1).sample((1000,))
    flow = flow_of()
    perturb(flow)
    torch.manual_seed(0)
    heavy = PenalisedLikelihood(kinetic=2.0, jacobian=3.0)(flow, data)
    torch.manual_seed(0)
    _, _, penalties = flow.transform.parts[0].inverse_with_penalties(data)
    torch.testing.assert_close(heavy, -flow().log_prob(data) + 2 * penalties.kinetic + 3 * penalties.jacobian)
    energies = []
    for weight in (0.0, 0.3):
        flow = flow_of(solver=RungeKutta(4))
        fit(flow, data, loss=PenalisedLikelihood(weight, weight), epochs=8)
        with torch.no_grad():
            found = flow.transform.parts[0].inverse_with_penalties(data)[2]
        energies.append(torch.stack([found.kinetic.mean(), found.jacobian.mean()]))
    assert (energies[1] < energies[0]).all()


def test_resuming_is_exact(tmp_path):
    data = torch.randn(300, 2)
    loss = FlowMatching(optimal_transport, sigma=0.1)
    whole, resumed = flow_of(), flow_of()
    fit(whole, data, loss=loss, epochs=4, batch_size=50)

    class Killed(Exception):
        pass

    def dies(flow, x, context=None):
        dies.left -= 1
        if not dies.left:
            raise Killed
        return loss(flow, x, context)

    dies.left, dies.__qualname__ = 8, repr(loss)
    settings = {"epochs": 4, "batch_size": 50, "checkpoint": tmp_path / "run", "checkpoint_every": 0}
    with pytest.raises(Killed):
        fit(resumed, data, loss=dies, **settings)
    resumed = flow_of()
    fit(resumed, data, loss=loss, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_a_matched_flow_serves_as_a_guide():
    """Matched to samples of something near the posterior, then improved by SVI."""
    flow = flow_of()
    fit(flow, torch.randn(1000, 2) + 1.0, loss=FlowMatching(), epochs=3)

    def model():
        pyro.sample("z", dist.Normal(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 2.0])).to_event(1))

    def guide():
        pyro.module("flow", flow)
        pyro.sample("z", flow())

    pyro.set_rng_seed(0)
    svi = pyro.infer.SVI(
        model, guide, pyro.optim.Adam({"lr": 5e-3}), pyro.infer.Trace_ELBO(64, vectorize_particles=True)
    )
    losses = [svi.step() for _ in range(150)]
    assert sum(losses[-10:]) / 10 < 0.05  # the evidence is 1
    assert losses[0] > 0.5


def test_bad_arguments(monkeypatch):
    data = torch.randn(10, 2)
    with pytest.raises(ValueError, match="one NeuralODE in it; got 0"):
        FlowMatching()(pf.Flow(pf.real_nvp(2)), data)
    with pytest.raises(ValueError, match="one NeuralODE in it; got 2"):
        PenalisedLikelihood()(flow_of(2, pf.ffjord(2)), data)
    with pytest.raises(ValueError, match="no parameters but"):
        FlowMatching()(flow_of(2, pf.transforms.ActNorm(2)), data)
    with pytest.raises(ValueError, match="sigma"):
        FlowMatching(sigma=-1.0)
    conditional = pf.Flow(pf.ffjord(2, context_dim=1))
    with pytest.raises(ValueError, match="no coupling"):
        FlowMatching(optimal_transport)(conditional, data, data[:, :1])
    with pytest.raises(ValueError, match="beside a context"):
        FlowMatching(averaged=True)(conditional, data, data[:, :1])
    with pytest.raises(ValueError, match="averaged velocities without a coupling"):
        FlowMatching(optimal_transport, averaged=True)
    for transform, base in (
        (flow_of().transform, pf.bases.logistic(2)),
        ([pf.transforms.reverse(2), pf.ffjord(2)], None),
    ):
        with pytest.raises(ValueError, match="standard normal base"):
            FlowMatching(averaged=True)(pf.Flow(transform, base), data)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pyro-flows\[continuous\]"):
        FlowMatching(optimal_transport)(flow_of(), data)
