"""The adapter for the `sbi` package, tested where that is installed."""

import copy
import doctest
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

pytest.importorskip("sbi", reason="needs the sbi package")

from sbi.inference import NPE
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator

import pyro_flows as pf
from pyro_flows import sbi as adapter
from pyro_flows.sbi import posterior_flow

PRIOR = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
SMALL = {"depth": 2, "hidden": (16,)}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch, tmp_path):
    """NPE writes its logs into the working folder."""
    monkeypatch.chdir(tmp_path)


def simulated(count=300, scale=1.0):
    theta = PRIOR.sample((count,)) * scale + 7 * (scale - 1)
    x = torch.cat([theta, theta.sum(-1, keepdim=True)], -1) + 0.1 * torch.randn(count, 3)
    return theta, x


def built(**options):
    theta, x = simulated()
    return posterior_flow(pf.nsf, **SMALL, **options)(theta, x), theta, x


@pytest.mark.filterwarnings("ignore")
def test_the_documented_example():
    assert doctest.testmod(adapter).failed == 0


def test_shapes_are_what_sbi_expects():
    q, _, _ = built()
    assert isinstance(q, ConditionalDensityEstimator)
    assert (q.input_shape, q.condition_shape) == ((2,), (3,))
    theta, x = torch.randn(4, 5, 2), torch.randn(5, 3)
    assert q.log_prob(theta, x).shape == (4, 5)
    assert q.log_prob(theta[0], x).shape == (1, 5)
    assert q.log_prob(theta, x[:1]).shape == (4, 5)
    assert q.log_prob(theta[:, :1], x).shape == (4, 5)
    assert q.log_prob(theta, x.expand(4, 5, 3)).shape == (4, 5)
    assert q.loss(theta[0], x).shape == (5,)
    assert q.sample((6, 7), x).shape == (6, 7, 5, 2)
    draws, log_prob = q.sample_and_log_prob(torch.Size([6]), x)
    assert (draws.shape, log_prob.shape) == ((6, 5, 2), (6, 5))
    torch.testing.assert_close(q.log_prob(draws, x), log_prob, atol=1e-4, rtol=1e-4)


def test_scores_are_those_of_the_flow():
    q, theta, x = built()
    wanted = q.net(x).log_prob(theta)
    torch.testing.assert_close(q.log_prob(theta, x)[0], wanted)
    torch.testing.assert_close(q.loss(theta, x), -wanted)


def test_units_are_those_of_the_simulations():
    torch.manual_seed(0)
    theta, x = simulated(2000, scale=50.0)
    q = posterior_flow(pf.nsf, **SMALL)(theta, x)
    torch.testing.assert_close(q.net.units.loc, theta.mean(0), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(q.net.context_units.scale, x.std(0), rtol=1e-3, atol=1e-3)
    loss = float(q.loss(theta, x).detach().mean())
    assert abs(loss - (math.log(2 * math.pi * math.e) + 2 * math.log(50))) < 0.2


def test_an_embedding_net_sees_the_events_standardised():
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, x):
            seen.append(x)
            return self.linear(x.flatten(1))

    theta, x = PRIOR.sample((100,)), torch.randn(100, 1, 4, 4) * 30 + 1000
    q = posterior_flow(pf.nsf, **SMALL, embedding_net=Net())(theta, x)
    assert q.loss(theta, x).shape == (100,)
    assert seen[-1].shape == (100, 1, 4, 4)
    assert abs(float(seen[-1].mean())) < 0.01
    assert abs(float(seen[-1].std()) - 1) < 0.01
    assert q.log_prob(theta.expand(3, 100, 2), x.expand(3, 100, 1, 4, 4)).shape == (3, 100)
    pf.testing.perturb(q)  # a new flow is the identity, whatever the context
    q.loss(theta, x).mean().backward()
    assert q.embedding_net[1].linear.weight.grad.abs().max() > 0


def test_copies_and_pickles():
    q, theta, x = built()
    build = pickle.loads(pickle.dumps(posterior_flow(pf.nsf, **SMALL)))
    assert build(theta, x).loss(theta, x).shape == (300,)
    for new in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        assert torch.equal(new.loss(theta, x), q.loss(theta, x))


def test_its_draws_can_be_calibrated():
    """A new flow draws from the prior, whose ranks are uniform too."""
    q, _, _ = built()

    def model():
        theta = pyro.sample("theta", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        mean = torch.cat([theta, theta.sum(-1, keepdim=True)], -1)
        pyro.sample("x", dist.Normal(mean, 0.1).to_event(1), obs=torch.zeros(3))

    def posterior(model, data):
        return {"theta": q.sample((9,), data["x"][None])[:, 0]}

    found = pf.diagnostics.calibrate(model, posterior, num_simulations=30, num_samples=9, progress=False)
    assert {tuple(ranks.shape) for ranks in found.ranks.values()} == {(30,)}
    assert set(found.verdicts().values()) == {"calibrated"}


def test_rows_of_theta_must_be_vectors():
    with pytest.raises(ValueError, match=r"expected θ of shape \(rows, length\); got \(5, 2, 2\)"):
        posterior_flow()(torch.zeros(5, 2, 2), torch.zeros(5, 3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_posterior_that_is_known():
    """θ ~ N(0, I), x = θ + 0.5 ε: the posterior is N(0.8 x, 0.2 I)."""
    theta = PRIOR.sample((2000,))
    x = theta + 0.5 * torch.randn(2000, 2)
    npe = NPE(PRIOR, density_estimator=posterior_flow(pf.nsf, **SMALL), show_progress_bars=False)
    npe.append_simulations(theta, x).train()
    draws = npe.build_posterior().sample((4000,), x=torch.tensor([[1.0, -1.0]]), show_progress_bars=False)
    torch.testing.assert_close(draws.mean(0), torch.tensor([0.8, -0.8]), atol=0.1, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.tensor([0.2, 0.2]), atol=0.1, rtol=0)
