import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI
from pyro.infer.reparam import NeuTraReparam
from pyro.ops.stats import effective_sample_size

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, AutoMixture, PathELBO, VISettings, fit_vi
from pyro_flows.infer.guides import start
from pyro_flows.infer.vi import convergence, vi_run

from ...helpers.schools import EVIDENCE, schools
from ...training.test_resume import kept_checkpoints

QUIET = VISettings(progress=False, seed=0)
Y = torch.tensor([1.0, 2.0, 4.0])


def location(y):
    x = pyro.sample("x", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


X = torch.linspace(-1, 2, 20)[:, None] ** torch.arange(3)
TARGET = X @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * torch.cos(7 * X[:, 1])


def regression():
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    with pyro.plate("rows", 20):
        pyro.sample("y", dist.Normal((X * w).sum(-1), 0.5), obs=TARGET)


def funnel():
    v = pyro.sample("v", dist.Normal(0.0, 2.0))
    with pyro.plate("xs", 2):
        pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 40)


def settings(**options):
    return VISettings(**({"progress": False, "seed": 0, "steps": 40, "tolerance": 0.0} | options))


def bound(model, guide, *args, draws=20_000, **kwargs):
    density = pf.infer.LogDensity(model, guide.latents, args, kwargs)
    with torch.no_grad():
        u, log_q = guide.rsample_and_log_prob((draws,))
        return (density(u) - log_q).mean().item()


def test_a_gaussian_location_exactly_and_at_once():
    guide = AutoFlow(location)
    history = fit_vi(location, guide, Y, settings=QUIET)
    log_z = dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 4).log_prob(Y).item()
    assert bound(location, guide, Y) == pytest.approx(log_z, abs=1e-2)
    draws = guide.sample_posterior(50_000)["x"]
    assert draws.mean().item() == pytest.approx(7 / 3.25, abs=0.02)
    assert draws.std().item() == pytest.approx(3.25**-0.5, rel=0.03)
    assert history.converged
    assert history.steps < 500


def test_linear_regression_exactly_and_at_once():
    guide = AutoFlow(regression)
    history = fit_vi(regression, guide, settings=QUIET)
    covariance = 4 * X @ X.mT + 0.25 * torch.eye(20)
    log_z = dist.MultivariateNormal(torch.zeros(20), covariance).log_prob(TARGET).item()
    assert bound(regression, guide) == pytest.approx(log_z, abs=1e-2)
    precision = X.mT @ X / 0.25 + torch.eye(3) / 4
    mean = torch.linalg.solve(precision, X.mT @ TARGET / 0.25)
    deviation = precision.inverse().diagonal().sqrt()
    draws = guide.sample_posterior(50_000)["w"]
    assert bool(((draws.mean(0) - mean).abs() < 0.03 * deviation).all())
    torch.testing.assert_close(draws.std(0), deviation, rtol=0.03, atol=0)
    assert history.converged
    assert history.steps < 500


def test_the_flow_closes_the_gap_that_a_gaussian_leaves():
    guide = AutoFlow(funnel)
    history = fit_vi(funnel, guide, settings=settings(steps=200))
    assert history.elbo[0] < -0.3
    assert bound(funnel, guide) > -0.1
    assert len(history.elbo) == len(history.half_variance) == 3


@pytest.mark.slow
def test_both_ways_of_writing_eight_schools_agree():
    for centred, most in ((True, 0.03), (False, 0.005)):
        guide = AutoFlow(schools)
        fit_vi(schools, guide, centred=centred, settings=VISettings(progress=False, seed=1))
        assert EVIDENCE - bound(schools, guide, centred=centred, draws=100_000) < most


def test_trains_the_models_parameters_too():
    def model():
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        x = pyro.sample("x", dist.Normal(0.0, scale))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(3.0))

    fit_vi(model, AutoFlow(model), settings=settings(steps=300, learning_rate=0.05))
    # p(y) is greatest where scale² + 1 = 9
    assert pyro.param("scale").item() == pytest.approx(8**0.5, abs=0.2)


def test_restarts_keep_the_best():
    guide = AutoFlow(funnel)
    history = fit_vi(funnel, guide, settings=settings(restarts=3))
    assert len(history.bounds) == 3
    assert len(set(history.bounds)) == 3
    assert bound(funnel, guide) == pytest.approx(history.best_bound, abs=0.1)


def test_seeds():
    def result(**options):
        torch.manual_seed(3)
        guide = AutoFlow(funnel)
        guide.setup()
        fit_vi(funnel, guide, settings=settings(steps=5, **options))
        return torch.cat([p.reshape(-1) for p in guide._built.parameters()])

    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(result(), result())
    assert not torch.equal(result(), result(seed=1))
    torch.set_rng_state(before)
    guide = AutoFlow(funnel)
    guide.setup()
    after_setup = torch.get_rng_state()
    fit_vi(funnel, guide, settings=settings(steps=2))
    assert torch.equal(torch.get_rng_state(), after_setup)
    chains = [AutoFlow(funnel) for _ in range(2)]  # without a seed two fits differ
    for guide in chains:
        fit_vi(funnel, guide, settings=settings(steps=2, seed=None))
    assert not torch.equal(*(g.whitening.loc for g in chains))


@pytest.mark.parametrize("members", [1, 2])
def test_a_seed_fixes_the_result_of_a_fresh_guide_and_leaves_other_random_numbers_alone(members):
    found = []
    for other in (1, 2):
        pyro.set_rng_seed(other)
        before = torch.get_rng_state()
        guides = [AutoFlow(funnel) for _ in range(members)]
        guide = guides[0] if members == 1 else AutoMixture(guides)
        fit_vi(funnel, guide, settings=settings(steps=2, seed=5))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(guide.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_goes_on_from_a_fitted_guide():
    guide = AutoFlow(funnel)
    fit_vi(funnel, guide, settings=settings())
    loc = guide.whitening.loc.clone()
    fit_vi(funnel, guide, settings=settings(steps=3))
    assert torch.equal(guide.whitening.loc, loc)


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch, restarts):
    monkeypatch.setattr(convergence, "CHECK_EVERY", 5)
    options = {"steps": 20, "restarts": restarts, "checkpoint_every": 0.0, "seed": None}

    class Killed(BaseException):  # as an interrupt is: other exceptions make a draw impossible
        pass

    def run(path, kill_after=None):
        calls = 0

        def model():
            nonlocal calls
            calls += 1
            if kill_after is not None and calls > kill_after:
                raise Killed
            funnel()

        guide = AutoFlow(model)
        history = fit_vi(model, guide, settings=settings(**options), checkpoint=path)
        return calls, history, guide.state_dict()

    pyro.set_rng_seed(5)
    whole_calls, whole, wanted = run(tmp_path / "whole")
    pyro.set_rng_seed(5)
    kills = [whole_calls - 3, whole_calls - 12] if restarts == 1 else [whole_calls - 30]
    for i, kill in enumerate(kills):
        path = tmp_path / f"killed{i}"
        pyro.set_rng_seed(5)
        with pytest.raises(Killed):
            run(path, kill)
        pyro.set_rng_seed(99)  # another process has other generators, and another guide
        _, history, found = run(path)
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
        assert history.elbo == whole.elbo
        assert history.bounds == whole.bounds
    again = run(tmp_path / "whole")  # a finished run gives its result at once
    assert again[0] < 20
    assert all(torch.equal(wanted[name], again[2][name]) for name in wanted)
    options["steps"] = 21
    with pytest.raises(ValueError, match="another run: expected steps"):
        run(tmp_path / "whole")


def held(data, prior=10.0):
    """Return a model of data that are no argument."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, prior))
        with pyro.plate("data", len(data)):
            pyro.sample("y", dist.Normal(x, 1.0), obs=data)

    return model


def other_site(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ((location, Y), (location, Y + 5), "expected arguments of the digest"),
        ((location, Y), (other_site, Y), r"expected latent sites x of shape \(\); got z of shape"),
        ((held(Y),), (held(Y + 5),), "whose log-density at a fixed place is"),
        ((held(Y),), (held(Y, prior=9.0),), "whose log-density at a fixed place is"),
    ],
)
def test_a_checkpoint_of_other_data_or_another_model_is_refused(tmp_path, first, second, told, members):
    def fresh(model):
        guides = [AutoFlow(model) for _ in range(members)]
        return guides[0] if members == 1 else AutoMixture(guides)

    path = tmp_path / "run"
    fit_vi(first[0], fresh(first[0]), *first[1:], settings=QUIET, steps=1, checkpoint=path)
    guide = fresh(second[0])
    guide.setup(*second[1:])
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    with pytest.raises(ValueError, match=f"is of another run: .*{told}"):
        fit_vi(second[0], guide, *second[1:], settings=QUIET, steps=1, checkpoint=path)
    assert all(torch.equal(before[name], value) for name, value in guide.state_dict().items())
    assert fit_vi(first[0], fresh(first[0]), *first[1:], settings=QUIET, steps=1, checkpoint=path).bounds


def test_parameters_that_start_at_random_and_subsamples_do_not_hinder_a_resumed_run(tmp_path, monkeypatch):
    """Neither torch's numbers nor numpy's may tell one process from the other."""
    monkeypatch.setattr(convergence, "CHECK_EVERY", 5)

    def model(y):
        offset = pyro.param("offset", lambda: torch.randn(()))
        x = pyro.sample("x", dist.Normal(0.0, 2.0))
        chosen = torch.from_numpy(np.random.permutation(30)[:6])  # noqa: NPY002 (as people write it)
        with pyro.plate("data", 30, subsample=chosen) as rows:
            pyro.sample("y", dist.Normal(x + offset, 1.0), obs=y[rows])

    def run(name, seed):
        pyro.set_rng_seed(seed)
        pyro.clear_param_store()
        guide = AutoFlow(model)
        options = {"steps": 10, "checkpoint": tmp_path / name, "checkpoint_every": 0.0}
        history = fit_vi(model, guide, torch.linspace(-1, 4, 30), settings=settings(), **options)
        return history, guide.state_dict() | {"offset": pyro.param("offset").detach().clone()}

    with kept_checkpoints(tmp_path) as paths:
        history, wanted = run("run", 1)
    resumed, found = run(paths[0].name, 2)
    assert resumed.elbo == history.elbo
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_survives_draws_without_a_density():
    def model():  # nothing right of 3, as if a solver failed there
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        bad = torch.where(x.sum(-1) > 4.0, x.sum(-1) * torch.nan, torch.zeros(()))
        pyro.factor("f", bad)

    guide = AutoFlow(model)
    history = fit_vi(model, guide, settings=settings(batch_size=8, steps=100))
    assert history.skipped > 0
    assert all(p.isfinite().all() for p in guide._built.parameters())


def test_draws_at_which_the_density_is_nan_are_told_too():
    """A log-normal distribution that is shifted by one, whose support torch takes for the real line."""

    def model():
        shifted = [dist.transforms.ExpTransform(), dist.transforms.AffineTransform(1.0, 1.0)]
        pyro.sample("x", dist.TransformedDistribution(dist.Normal(0.0, 0.5), shifted))

    with pytest.warns(UserWarning, match=r"has density zero at .* NaN counted as zero, so the ELBO is −∞"):
        history = fit_vi(model, AutoFlow(model), settings=settings(batch_size=32, steps=20))
    assert 0 < history.outside < 0.5


def test_a_posterior_that_ends_at_a_boundary_is_told():
    def model():  # the posterior of `top` ends at the largest observation, and its prior does not
        top = pyro.sample("top", dist.LogNormal(1.0, 0.5))
        with pyro.plate("row", 3):
            pyro.sample("y", dist.Uniform(0.0, top), obs=torch.tensor([0.5, 1.0, 2.0]))

    guide = AutoFlow(model)
    with pytest.warns(UserWarning, match=r"has density zero at \d+ % of the guide's draws.*ELBO is −∞"):
        history = fit_vi(model, guide, settings=settings(batch_size=64))
    assert not history.converged
    result = pf.infer.importance(model, guide)
    zero = (result.log_weights == -math.inf).double().mean()
    assert history.outside == pytest.approx(float(zero), abs=0.05)
    report = pf.diagnostics.report(result)
    assert report.verdict != "good"
    assert any(
        "of 4000 weights are zero" in reason and "not finite: y" in reason for reason in report.reasons
    )
    top = torch.linspace(2.0, 60.0, 60_001, dtype=torch.double)
    exact = torch.trapezoid(dist.LogNormal(1.0, 0.5).log_prob(top).exp() * top**-3, top).log()
    assert result.log_evidence == pytest.approx(float(exact), abs=0.2)


def test_gives_up_where_no_step_is_finite(monkeypatch):
    monkeypatch.setattr(vi_run, "PATIENCE", 2)
    monkeypatch.setattr(vi_run, "LOOK_EVERY", 2)

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("f", (x - x).abs().sqrt())  # whose gradient is 0 · ∞

    with pytest.raises(pf.training.NonFiniteLoss, match="last good weights"):
        fit_vi(model, AutoFlow(model), settings=settings())


def test_plain_gradients_and_large_dimensions():
    def model():
        pyro.sample("x", dist.Normal(torch.arange(1100.0), 0.01).to_event(1))

    guide = AutoFlow(model, transform=lambda d: pf.real_nvp(d, depth=2, hidden=(4,)))
    guide.setup()
    assert guide.whitening.scale.shape == (1100,)
    fit_vi(model, guide, settings=settings(path_gradient=False, steps=2))
    draws = guide.sample_posterior(2000)["x"]
    assert bool(((draws.mean(0) - torch.arange(1100.0)).abs() < 0.01).all())


def test_subsampled_likelihood():
    data = torch.randn(200) * 0.5 + 1

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("rows", 200, subsample_size=50) as rows:
            pyro.sample("y", dist.Normal(mu, 0.5), obs=data[rows])

    guide = AutoFlow(model)
    fit_vi(model, guide, settings=settings(steps=200))
    assert guide.sample_posterior(5000)["mu"].mean().item() == pytest.approx(data.mean().item(), abs=0.05)


def test_svi_after_fit_vi_goes_on_from_there():
    guide = AutoFlow(location)
    fit_vi(location, guide, Y, settings=settings(steps=1))
    before = guide.whitening.loc.clone()
    svi = SVI(
        location, guide, pyro.optim.Adam({"lr": 1e-3}), PathELBO(num_particles=8, vectorize_particles=True)
    )
    losses = [svi.step(Y) for _ in range(3)]
    assert all(math.isfinite(loss) for loss in losses)
    assert torch.equal(before, guide.whitening.loc)


def test_refuses_what_does_not_fit():
    with pytest.raises(TypeError, match="PathELBO"):
        fit_vi(location, pyro.infer.autoguide.AutoNormal(location), Y)
    for bad in ({"steps": 0}, {"learning_rate": -1.0}, {"tolerance": -1.0}, {"seed": -1}):
        with pytest.raises(ValueError, match="expected"):
            VISettings(**bad)
    with pytest.raises(TypeError, match="integer"):
        VISettings(steps=1.5)


@pytest.mark.slow
def test_nuts_mixes_on_the_funnel_in_the_flows_coordinates():
    def model():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("x", dist.Normal(torch.zeros(4), (v[..., None] / 2).exp()).to_event(1))

    guide = AutoFlow(model)
    fit_vi(model, guide, settings=VISettings(progress=False, seed=0, steps=800))
    neutra = NeuTraReparam(guide)
    kernel = NUTS(neutra.reparam(model), max_tree_depth=6)
    mcmc = MCMC(kernel, num_samples=300, warmup_steps=150, disable_progbar=True)
    mcmc.run()
    noise = mcmc.get_samples()[f"{next(iter(guide.prototype_trace.stochastic_nodes))}_shared_latent"]
    v = guide.from_noise(noise)["v"]
    assert v.mean().abs() < 0.6
    assert v.std().item() == pytest.approx(3.0, rel=0.15)
    assert effective_sample_size(v[None]).item() > 100  # plain NUTS gets stuck in the neck


def test_the_rate_comes_down_twice():
    schedule = [VISettings(steps=1000).schedule(step) for step in range(1000)]
    assert max(schedule[:500]) == pytest.approx(1.0, rel=1e-2)
    assert max(schedule[500:]) == pytest.approx(0.5, rel=1e-2)
    assert (schedule[499], schedule[999]) == pytest.approx((0.01, 0.005), rel=1e-2)
    assert VISettings(steps=1).schedule(0) > 0


@pytest.mark.parametrize("shape", [0.7, 5.0])
def test_one_dimension_with_tails_that_are_not_gaussian(shape):
    def model():
        pyro.sample("rate", dist.Gamma(shape, 1.0))

    guide = AutoFlow(model)
    fit_vi(model, guide, settings=QUIET)
    exact = {"rate": dist.Gamma(shape, 1.0).sample((20_000,))}
    with torch.no_grad():
        excess = dist.Gamma(shape, 1.0).log_prob(exact["rate"]) - guide.log_prob(exact)
    assert abs(bound(model, guide)) < 2e-3
    assert excess.mean() < 4e-3
    assert excess.max() < 10  # with Gaussian tails, 37 for the smaller shape
