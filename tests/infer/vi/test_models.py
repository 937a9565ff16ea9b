"""`fit_vi` on models as users write them."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import nn

from pyro_flows.infer import AutoFlow, AutoMixture, VISettings, fit_vi
from pyro_flows.infer.guides import start
from pyro_flows.infer.guides.bound import Bound
from pyro_flows.infer.model.runs import ModelRuns
from pyro_flows.transforms import DiagonalScaling

QUICK = VISettings(progress=False, seed=0, steps=400, learning_rate=0.05)


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)


def diagonal(dim):
    return DiagonalScaling(dim)


def test_a_parameter_of_the_model_is_trained_although_the_guide_is_exact_at_once():
    y = torch.tensor([0.5, -0.9, 0.3, 1.1, -0.6])

    def model():
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 5):
            pyro.sample("y", dist.Normal(0.1 * x, scale), obs=y)

    history = fit_vi(model, AutoFlow(model, diagonal), settings=QUICK)
    grid = torch.linspace(0.4, 2.0, 1601)
    covariance = grid.square()[:, None, None] * torch.eye(5) + 0.01
    best = grid[dist.MultivariateNormal(torch.zeros(5), covariance).log_prob(y).argmax()]
    assert pyro.param("scale").item() == pytest.approx(float(best), abs=0.01)
    assert history.converged
    assert history.steps == 200


@pytest.mark.parametrize("kind", ["pyro.module", "PyroModule", "local"])
def test_weights_of_a_module_are_trained_to_their_optimum(kind):
    truth, x = torch.tensor([1.0, -2.0, 0.5]), torch.randn(40, 3)

    def model():
        if kind == "pyro.module":
            pyro.module("net", net)
        z = pyro.sample("z", dist.Normal(0.0, 0.1))
        with pyro.plate("rows", 40):
            pyro.sample("y", dist.Normal(net(x)[:, 0] + z, 0.5), obs=x @ truth)

    with pyro.settings.context(module_local_params=kind == "local"):
        net = (nn.Linear if kind == "pyro.module" else PyroModule[nn.Linear])(3, 1, bias=False)
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[-0.2, -0.5, -0.1]]))
        fit_vi(model, AutoFlow(model, diagonal), settings=QUICK)
    torch.testing.assert_close(net.weight.detach()[0], truth, atol=5e-3, rtol=0)


def test_fixed_and_shared_parameters_count_as_they_should():
    fixed, shared = nn.Linear(1, 1).requires_grad_(False).eval(), nn.Parameter(torch.tensor(3.0))

    def model():
        pyro.module("fixed", fixed)
        pyro.param("a", shared)
        pyro.param("b", shared)
        x = pyro.sample("x", dist.Normal(shared, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    guide = AutoFlow(model, diagonal)
    fit_vi(model, guide, settings=QUICK)
    assert shared.item() == pytest.approx(1.0, abs=0.01)

    def frozen():
        pyro.module("fixed", fixed)
        pyro.sample("x", dist.Normal(0.0, 1.0))

    assert fit_vi(frozen, AutoFlow(frozen, diagonal), settings=QUICK).steps == 0  # nothing to wait for


def test_a_flat_prior_that_cannot_be_sampled():
    def model():
        x = pyro.sample("x", dist.ImproperUniform(dist.constraints.positive, (), ()))
        pyro.factor("gamma", dist.Gamma(3.0, 2.0).log_prob(x))

    guide = AutoFlow(model)
    history = fit_vi(model, guide, settings=QUICK)
    assert history.best_bound == pytest.approx(0.0, abs=0.01)
    assert guide.sample_posterior(20_000)["x"].mean().item() == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_fails_at_draws_of_its_prior_runs_at_the_guides_values(seed):
    pyro.set_rng_seed(seed)

    def model():
        a = pyro.sample("a", dist.Normal(0.0, 5.0))
        scale = torch.where(a > 1, torch.nan, torch.ones(()))  # as a solver that diverges would have it
        pyro.sample("y", dist.Normal(a, scale), obs=torch.tensor(-8.0))

    guide = AutoFlow(model, diagonal)
    with pyro.validation_enabled():
        fit_vi(model, guide, settings=QUICK)
    assert guide.sample_posterior(5000)["a"].mean().item() == pytest.approx(-8 * 25 / 26, abs=0.1)


def centred(y):
    x = pyro.sample("x", dist.Normal(0.0, 2.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def test_other_data_of_another_size():
    guide = AutoFlow(centred, diagonal)
    for y in (torch.tensor([1.0, 2.0, 4.0]), torch.tensor([5.0, 6.0])):
        fit_vi(centred, guide, y, settings=QUICK, steps=1000)
        precision = 0.25 + len(y)
        drawn = guide.sample_posterior(20_000)["x"]
        assert drawn.mean().item() == pytest.approx(float(y.sum()) / precision, abs=0.03)
        assert drawn.std().item() == pytest.approx(precision**-0.5, rel=0.05)


@pytest.mark.parametrize("together", [10_000, 100])
@pytest.mark.parametrize("members", [1, 2])
def test_data_in_double_precision_beside_priors_in_single(monkeypatch, members, together):
    monkeypatch.setattr(ModelRuns, "together", together)
    y = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    guides = [AutoFlow(centred, diagonal) for _ in range(members)]
    guide = guides[0] if members == 1 else AutoMixture(guides)
    guide.setup(y)
    for member, loc in zip(guides, (2.0, 3.0), strict=False):
        member.initialised.fill_(True)
        member.whitening.place(torch.tensor([loc]), torch.tensor([[0.5]]))
    history = fit_vi(centred, guide, y, settings=QUICK, steps=100, tolerance=0.0)
    precision = 3.25
    drawn = guide.sample_posterior(20_000)["x"]
    assert drawn.dtype == torch.float32
    assert drawn.mean().item() == pytest.approx(7 / precision, abs=0.03)
    assert drawn.std().item() == pytest.approx(precision**-0.5, rel=0.05)
    cov = torch.eye(3) + 4
    evidence = dist.MultivariateNormal(torch.zeros(3), cov).log_prob(y.float()).item()
    assert history.elbo[-1] == pytest.approx(evidence, abs=0.01)


def test_other_data_that_change_the_latent_sites_get_a_clear_line():
    def model(y):
        with pyro.plate("rows", len(y)):
            x = pyro.sample("x", dist.Normal(0.0, 2.0))
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)

    guide = AutoFlow(model, diagonal)
    fit_vi(model, guide, torch.randn(3), settings=QUICK)
    for call in (lambda y: fit_vi(model, guide, y, settings=QUICK), guide, guide.setup):
        with pytest.raises(ValueError, match=r"'x' of shape \(3,\); got 'x' of shape \(4,\)"):
            call(torch.randn(4))


def test_settings_as_an_object_as_keywords_or_both():
    y = torch.tensor([1.0, 2.0])

    def run(*args, **kwargs):
        return fit_vi(centred, AutoFlow(centred, diagonal), y, *args, progress=False, tolerance=0.0, **kwargs)

    assert run(steps=7).steps == 7
    assert run(steps=7, settings=VISettings(steps=9, restarts=2)).steps == 14

    def model(y, steps):
        for i in range(steps):
            pyro.sample(f"x{i}", dist.Normal(y.mean(), 1.0))

    assert (
        fit_vi(
            model, AutoFlow(model), y, 2, settings=VISettings(progress=False, steps=5, tolerance=0.0)
        ).steps
        == 5
    )
    with pytest.raises(TypeError, match="expected steps by position or inside settings"):
        fit_vi(model, AutoFlow(model), y, steps=2)
    with pytest.raises(TypeError, match="expected settings as VISettings; got dict"):
        run(settings={"steps": 2})


def two_modes():
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    pyro.factor("bimodal", -0.5 * ((x.square().sum(-1) - 9) / 0.5).square())


@pytest.mark.filterwarnings("ignore:the restarts have found different modes")
def test_restarts_of_a_fitted_guide_are_independent():
    guide = AutoFlow(two_modes)
    fit_vi(two_modes, guide, settings=QUICK, steps=5, tolerance=0.0)
    started = []

    weights = [p.detach().clone() for p in guide._built.parameters()]
    renew = guide.renew

    def watched():
        renew()
        started.append([p.detach().clone() for p in guide._built.parameters()])

    guide.renew = watched
    history = fit_vi(two_modes, guide, settings=QUICK, steps=5, restarts=3, tolerance=0.0)
    assert len(set(history.bounds)) == 3
    assert len(started) == 2
    for one, other in ((weights, started[0]), (started[0], started[1])):
        assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_many_rows_run_in_parts_with_the_same_gradient(monkeypatch):
    guide = AutoFlow(two_modes)
    guide.setup()

    def gradient(together):
        torch.manual_seed(0)
        guide.zero_grad()
        density = lambda u: -(u.square().sum(-1) - 9).square()  # noqa: E731
        objective = Bound(
            density, guide.get_transform(), guide.get_base_dist(), path_gradient=True, together=together
        )
        objective.backward(50)
        assert len(objective.weights(2000)) == 2000
        return torch.cat([p.grad.reshape(-1) for p in guide.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient(7), gradient(50))
