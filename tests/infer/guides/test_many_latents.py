"""Posteriors of several hundred latent dimensions that depend on each other."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.infer.guides import start, whitened_flow
from pyro_flows.infer.guides.whitening import Whitening


def field(points, *, counts):
    """A Gaussian process on a line, seen with normal noise, or as counts."""
    line = torch.linspace(0, 10, points)
    covariance = torch.exp(-(line - line[:, None]).abs()) + 1e-4 * torch.eye(points)
    root = torch.linalg.cholesky(covariance)
    f = root @ torch.randn(points, generator=torch.Generator().manual_seed(0))
    y = torch.poisson(f.exp(), generator=torch.Generator().manual_seed(1)) if counts else f

    def model():
        x = pyro.sample("x", dist.MultivariateNormal(torch.zeros(points), scale_tril=root))
        seen = dist.Poisson(x.exp()) if counts else dist.Normal(x, 0.3)
        pyro.sample("y", seen.to_event(1), obs=y)

    evidence = None
    if not counts:
        noisy = covariance.double() + 0.09 * torch.eye(points)
        evidence = float(dist.MultivariateNormal(torch.zeros(points).double(), noisy).log_prob(y.double()))
    return model, evidence


@pytest.mark.parametrize("points", [250, 600])
def test_a_gaussian_posterior_is_met_at_once(points):
    pyro.set_rng_seed(0)
    model, evidence = field(points, counts=False)
    guide = pf.infer.AutoFlow(model)
    guide.initialise()
    result = pf.infer.importance(model, guide, num_samples=500)
    assert result.elbo == pytest.approx(evidence, abs=0.05)
    assert result.khat < 0.7


def test_adam_does_not_leave_a_good_start_of_many_dimensions(monkeypatch):
    pyro.set_rng_seed(0)
    monkeypatch.setattr(start, "STEPS", 100)
    model, _ = field(400, counts=True)
    guide = pf.infer.AutoFlow(model)
    guide.initialise()
    result = pf.infer.importance(model, guide, num_samples=2000)
    assert result.gap < 0.2
    assert result.khat < 0.7


def test_the_start_of_a_centred_hierarchy_is_not_in_its_funnels_neck(monkeypatch):
    """Newton steps alone lead to scales of zero, and intercepts and slopes that are all the same."""
    monkeypatch.setattr(start, "STEPS", 200)
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(800) % 40
    x = torch.randn(800, generator=generator)
    effects = torch.tensor([[1.5], [-0.7]]) + torch.tensor([[0.6], [0.3]]) * torch.randn(
        2, 40, generator=generator
    )
    y = effects[0, group] + effects[1, group] * x + 0.8 * torch.randn(800, generator=generator)

    def model():
        mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 5.0).to_event(1))
        tau = pyro.sample("tau", dist.HalfNormal(torch.ones(2)).to_event(1))
        sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
        with pyro.plate("groups", 40):
            a = pyro.sample("a", dist.Normal(mu[..., :1], tau[..., :1]))
            b = pyro.sample("b", dist.Normal(mu[..., 1:], tau[..., 1:]))
        with pyro.plate("rows", 800):
            pyro.sample("y", dist.Normal(a[..., group] + b[..., group] * x, sigma[..., None]), obs=y)

    pyro.set_rng_seed(0)
    guide = pf.infer.AutoFlow(model)
    guide.initialise()
    scales = guide.quantiles([0.5])["tau"][0]
    assert 0.3 < float(scales[0]) < 0.9
    assert 0.1 < float(scales[1]) < 0.6
    assert pf.infer.importance(model, guide, num_samples=2000).gap < 1.0


def test_no_hessian_is_taken_of_a_model_whose_draws_go_one_by_one(monkeypatch):
    pyro.set_rng_seed(0)
    monkeypatch.setattr(start, "MOST_PASSES", 0)
    monkeypatch.setattr(start, "newton_path", None)
    guide = pf.infer.AutoFlow(field(5, counts=False)[0])
    guide.initialise()
    assert guide.initialised


def test_above_a_thousand_dimensions_scales_are_diagonal():
    loc = torch.zeros(whitened_flow.MOST_DENSE + 1)
    assert not whitened_flow.whitened_flow(pf.transforms.Chain([]), loc).transform[-1].dense


@pytest.mark.parametrize("size", [3, 40])
def test_both_ways_through_a_whitening_agree_with_its_matrix(size):
    torch.manual_seed(0)
    whitening = Whitening(size).double()
    whitening.place(torch.randn(size), torch.eye(size) + 0.1 * torch.randn(size, size).tril())
    with torch.no_grad():
        for parameter in whitening.parameters():
            parameter.normal_(0, 0.1)
        x = torch.randn(2, 5, size, dtype=torch.double)
        y, log_det = whitening.forward_and_log_det(x)
        loc, matrix = whitening.location_and_scale()
        torch.testing.assert_close(y, loc + x @ matrix.mT)
        torch.testing.assert_close(log_det, torch.linalg.slogdet(matrix)[1].expand(2, 5))
        back, minus = whitening.inverse_and_log_det(y)
        torch.testing.assert_close(back, x)
        torch.testing.assert_close(minus, -log_det)


def test_a_whitening_saved_before_its_elements_had_a_unit_is_converted():
    torch.manual_seed(0)
    old, new = Whitening(64), Whitening(64)
    with torch.no_grad():
        old.lower.normal_()
        old.gain = 1.0
    state = old.state_dict()
    state._metadata[""]["version"] = 1
    new.load_state_dict(state)
    torch.testing.assert_close(new.correction(), old.correction())
    twin = Whitening(64)
    twin.load_state_dict(new.state_dict())
    assert torch.equal(twin.correction(), new.correction())
