"""Priors so vague that their medians and draws lie far from any posterior."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_flows.infer import AutoFlow, LogDensity
from pyro_flows.infer.guides import start

Y = torch.tensor([-0.8, 0.3, 1.1, 0.2, -0.4])


def groups():
    """A precision whose prior median is about 1e-29: the effects' start is 1e14 then."""
    tau = pyro.sample("tau", dist.Gamma(0.01, 0.01))
    with pyro.plate("group", 5):
        b = pyro.sample("b", dist.Normal(0.0, tau.rsqrt()))
        pyro.sample("y", dist.Normal(b, 0.5), obs=Y)


@pytest.mark.parametrize("anew", [False, True])
def test_a_guide_starts_near_the_posterior(monkeypatch, anew):
    monkeypatch.setattr(start, "STEPS", 100)
    guide = AutoFlow(groups)
    guide.setup()
    if anew:
        guide.renew()
    guide.initialise()
    with torch.no_grad():
        u, log_q = guide.rsample_and_log_prob((500,))
        weights = LogDensity(groups, guide.latents, (), {})(u) - log_q
    assert -20.0 < float(weights.mean()) < -5.0  # it was −2e8 for a model of this kind
    assert guide.sample_posterior(500)["b"].abs().mean() < 2.0


def test_only_a_start_that_is_far_off_is_moved():
    def density(u):
        return -u.square().sum(-1)

    near, far = torch.tensor([20.0, -20.0]), torch.tensor([200.0, -200.0])
    assert start._nearer_zero(density, near, 100).equal(near)
    assert start._nearer_zero(density, far, 100).equal(torch.zeros(2))
    ring = lambda u: -(u.norm(dim=-1) - 50.0).square()  # noqa: E731
    assert start._nearer_zero(ring, far, 100).equal(far / 8)
    nowhere = lambda u: torch.full((len(u),), float("nan"))  # noqa: E731
    assert start._nearer_zero(nowhere, far, 3).equal(far)
