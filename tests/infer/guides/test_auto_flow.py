import copy
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoGuideList, init_to_value
from pyro.infer.reparam import NeuTraReparam

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, LogDensity
from pyro_flows.infer.guides import start

from ...helpers.schools import SIGMA, Y, schools


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 60)


THREE = torch.tensor([1.0, 2.0, 4.0])


def gaussian(y=THREE):
    like = y.new_ones(())
    x = pyro.sample("x", dist.Normal(0 * like, 2 * like))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x, like), obs=y)


def constrained():
    pyro.sample("rate", dist.Gamma(2.0, 3.0))
    weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0])))
    pyro.sample("share", dist.Beta(2.0, 2.0))
    pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    with pyro.plate("plate", 4):
        pyro.sample("low", dist.Uniform(-2.0, 0.0))
        pyro.sample("vector", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
    pyro.sample("obs", dist.Normal(weights.sum(-1), 1.0), obs=torch.tensor(0.5))


def ready(model, *args, **options):
    """A guide that has a Gaussian's place but was not searched for one."""
    guide = AutoFlow(model, **options)
    guide.setup(*args)
    guide.initialised.fill_(True)
    perturb(guide)
    return guide


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_guide_with_plates_is_set_up_by_its_first_step_of_svi(vectorize):
    elbo = Trace_ELBO(num_particles=3, vectorize_particles=vectorize)
    guide = AutoFlow(schools)
    svi = SVI(schools, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
    assert torch.tensor([svi.step() for _ in range(2)]).isfinite().all()
    assert guide.initialised


def perturb(guide):
    with torch.no_grad():
        for parameter in guide._built.parameters():
            parameter += 0.03 * torch.randn(parameter.shape).to(parameter)


def test_finds_a_gaussian_posterior_exactly():
    guide = AutoFlow(gaussian)
    guide.initialise()
    assert guide.whitening.loc.item() == pytest.approx(7 / 3.25, abs=0.01)
    assert guide.whitening.scale.item() == pytest.approx(3.25**-0.5, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_takes_its_dtype_from_the_model(dtype):
    guide = ready(schools, Y.to(dtype), SIGMA.to(dtype))
    values, log_prob = guide.sample_and_log_prob(5)
    assert {v.dtype for v in (log_prob, *values.values())} == {dtype}


@pytest.mark.parametrize("model", [schools, gaussian, constrained])
def test_scores_what_it_draws(model):
    guide = ready(model)
    values, log_prob = guide.sample_and_log_prob((3, 5))
    assert log_prob.shape == (3, 5)
    torch.testing.assert_close(guide.log_prob(values), log_prob, atol=2e-3, rtol=1e-3)
    one = {name: value[0, 0] for name, value in values.items()}
    torch.testing.assert_close(guide.log_prob(one), log_prob[0, 0], atol=2e-3, rtol=1e-3)


def test_log_prob_is_the_density_of_constrained_values():
    def model():
        pyro.sample("a", dist.LogNormal(0.0, 1.0))

    guide = ready(model)
    grid = torch.linspace(-12, 12, 20_001).exp()
    density = guide.log_prob({"a": grid}).detach().exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("model", [schools, gaussian, constrained])
def test_draws_are_shaped_as_the_model_says(model):
    guide = ready(model)
    trace = pyro.poutine.trace(model).get_trace()
    values = guide.sample_posterior(7)
    for name in guide.median():
        shape = trace.nodes[name]["value"].shape
        assert values[name].shape == (7, *shape)
        assert guide.median()[name].shape == shape
        assert guide.quantiles([0.1, 0.5, 0.9])[name].shape == (3, *shape)
        assert bool(trace.nodes[name]["fn"].support.check(values[name]).all())
        assert bool(trace.nodes[name]["fn"].support.check(guide.median()[name]).all())


def test_quantiles_are_those_of_draws_and_the_same_each_time():
    guide = ready(constrained)
    draws = guide.sample_posterior(40_000)
    levels = [0.05, 0.5, 0.95]
    found = guide.quantiles(levels)
    for name in ("rate", "share", "low"):
        wanted = draws[name].quantile(torch.tensor(levels), 0)
        torch.testing.assert_close(found[name], wanted, atol=0.05 * float(draws[name].std()), rtol=0)
    assert torch.equal(found["rate"], guide.quantiles(levels)["rate"])
    assert bool((found["low"][0] < found["low"][2]).all())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("kind", [Trace_ELBO, JitTrace_ELBO])
@pytest.mark.parametrize("model", [schools, gaussian, constrained])
def test_svi_steps(model, kind, vectorize):
    guide = ready(model)
    options = {"ignore_jit_warnings": True} if kind is JitTrace_ELBO else {}
    elbo = kind(num_particles=4, vectorize_particles=vectorize, **options)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
    before = [p.clone() for p in guide._built.parameters()]
    losses = [svi.step() for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert any(not torch.equal(a, b) for a, b in zip(before, guide._built.parameters(), strict=True))


def test_one_latent_dimension_and_a_transform_of_ones_own():
    assert ready(gaussian).latents.dim == 1
    built = pf.real_nvp(10, depth=2)
    assert ready(schools, transform=built)._built.transform[0] is not None
    assert ready(schools, transform=lambda d: pf.nice(d, depth=2)).sample_posterior()["theta"].shape == (8,)
    with pytest.raises(ValueError, match="length 10"):
        ready(schools, transform=pf.real_nvp(3))


def test_predictive_and_lists_of_guides():
    guide = ready(schools)
    for parallel in (False, True):
        samples = Predictive(schools, guide=guide, num_samples=6, parallel=parallel)()
        assert samples["theta"].shape == (6, 8)
        assert samples["y"].shape == (6, 8)
    both = AutoGuideList(schools)
    both.append(AutoFlow(pyro.poutine.block(schools, hide=["theta"])))
    both.append(AutoFlow(pyro.poutine.block(schools, expose=["theta"])))
    assert sorted(both()) == ["mu", "tau", "theta"]


def test_a_state_dict_loads_into_a_fresh_guide():
    guide = ready(schools)
    fresh = AutoFlow(schools)
    with pytest.raises(ValueError, match="setup"):
        fresh.load_state_dict(guide.state_dict())
    fresh.setup()
    fresh.load_state_dict(guide.state_dict())
    assert bool(fresh.initialised)
    values = guide.sample_posterior(5)
    assert torch.equal(fresh.log_prob(values), guide.log_prob(values))
    loc = fresh.whitening.loc.clone()
    fresh()  # and its first call does not look for a Gaussian again
    assert torch.equal(fresh.whitening.loc, loc)


def test_the_first_call_initialises_once():
    guide = AutoFlow(gaussian)
    guide()
    assert bool(guide.initialised)
    loc = guide.whitening.loc.clone()
    guide()
    assert torch.equal(guide.whitening.loc, loc)


def test_two_guides_share_nothing():
    first = ready(schools)
    first()
    second = ready(schools)
    before = [p.clone() for p in second._built.parameters()]
    second()
    assert all(torch.equal(a, b) for a, b in zip(before, second._built.parameters(), strict=True))
    twin = copy.deepcopy(first)
    perturb(twin)
    twin()
    values = first.sample_posterior(3)
    assert not torch.equal(twin.log_prob(values), first.log_prob(values))
    named = ready(schools, name="posterior")
    with pytest.raises(ValueError, match="posterior"):
        ready(schools, name="posterior")
    del named


def test_the_param_store_carries_the_whole_guide(tmp_path):
    guide = ready(schools, name="posterior")
    guide.whitening.place(torch.arange(10.0) / 5, 2 * torch.eye(10))
    perturb(guide)
    guide()
    values, wanted = guide.sample_and_log_prob(5)
    keys = [key for key in pyro.get_param_store() if key.startswith("posterior.")]
    pyro.get_param_store().save(tmp_path / "store")
    del guide
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "store")
    fresh = AutoFlow(schools, name="posterior")
    fresh.setup()
    assert bool(fresh.initialised)
    torch.testing.assert_close(fresh.log_prob(values), wanted, atol=1e-4, rtol=1e-4)
    del fresh
    pyro.clear_param_store()
    later = ready(schools, name="posterior")
    pyro.get_param_store().load(tmp_path / "store")  # after the guide was built
    torch.testing.assert_close(later.log_prob(values), wanted, atol=1e-4, rtol=1e-4)
    del later
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "store")
    for key in keys:
        if key.endswith((".loc", ".scale")):
            del pyro.get_param_store()[key]
    with pytest.raises(ValueError, match="location and scales"):
        AutoFlow(schools, name="posterior").setup()


def test_the_param_store_follows_the_guide():
    guide = ready(schools, name="posterior")
    guide()
    guide.whitening.place(torch.ones(10), torch.eye(10))
    key = next(key for key in pyro.get_param_store() if key.endswith(".loc"))
    assert torch.equal(pyro.get_param_store()[key], torch.ones(10))
    guide.double()
    guide()
    assert pyro.get_param_store()[key].dtype == torch.float64
    pyro.clear_param_store()
    guide()
    assert key in pyro.get_param_store()


def test_copies_and_pickles():
    guide = ready(constrained)
    guide()
    values = guide.sample_posterior(5)
    for other in (copy.deepcopy(guide), pickle.loads(pickle.dumps(guide))):
        assert torch.equal(other.log_prob(values), guide.log_prob(values))
        assert other._pyro_name is not None
    assert guide.model is not None
    assert copy.deepcopy(guide).model is guide.model


def test_local_module_parameters():
    with pyro.settings.context(module_local_params=True):
        guide = ready(schools)
        loss = Trace_ELBO()(schools, guide)
        loss().backward()
        assert all(p.grad is not None for p in guide._built.parameters())
        assert not list(pyro.get_param_store())


def test_refuses_subsampled_local_latents():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 8, subsample_size=4) as rows:
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y[rows])

    with pytest.raises(ValueError, match="amortised"):
        AutoFlow(model).setup(torch.zeros(8))

    def fine(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 8, subsample_size=4) as rows:
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])

    AutoFlow(fine).setup(torch.zeros(8))


def test_refuses_discrete_sites_and_dependent_supports():
    with pytest.raises(ValueError, match="discrete"):
        AutoFlow(lambda: pyro.sample("k", dist.Poisson(3.0))).setup()

    def dependent():
        a = pyro.sample("a", dist.Uniform(0.0, 1.0))
        pyro.sample("b", dist.Uniform(0.0, 1 - a))

    with pytest.raises(ValueError, match="'b' depends"):
        AutoFlow(dependent).setup()


def test_the_density_agrees_with_pyro():
    guide = ready(constrained)
    u = torch.randn(4, guide.latents.dim)
    values, log_det = guide.latents.constrain(u)
    for i, found in enumerate(LogDensity(constrained, guide.latents, (), {})(u)):
        data = {name: value[i] for name, value in values.items()}
        trace = pyro.poutine.trace(pyro.poutine.condition(constrained, data=data)).get_trace()
        torch.testing.assert_close(found, trace.log_prob_sum() + log_det[i], atol=1e-4, rtol=1e-4)


def test_a_model_of_one_draw_runs_by_vmap():
    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x.sum(), 1.0), obs=torch.tensor(1.0))  # would sum over draws too

    guide = ready(model)
    density = LogDensity(model, guide.latents, (), {})
    u = torch.randn(5, 3)
    found = density(u)
    likelihood = dist.Normal(u.sum(-1), 1.0).log_prob(torch.tensor(1.0))
    wanted = dist.Normal(0.0, 1.0).log_prob(u).sum(-1) + likelihood
    torch.testing.assert_close(found, wanted)
    assert density.how.way == "vmap"


def test_flat_priors_that_cannot_be_sampled():
    def model():
        x = pyro.sample("x", dist.ImproperUniform(dist.constraints.positive, (), (2,)))
        pyro.factor("f", dist.Gamma(3.0, 1.0).log_prob(x).sum(-1))

    guide = AutoFlow(model)
    guide.setup()
    torch.testing.assert_close(guide.whitening.loc, torch.zeros(2))


def test_neutra_keeps_the_density():
    guide = ready(schools)
    neutra = NeuTraReparam(guide)
    model = neutra.reparam(schools)
    trace = pyro.poutine.trace(model).get_trace()
    noise = trace.nodes["mu_shared_latent"]["value"]
    u, log_det = guide.get_transform().forward_and_log_det(noise)
    wanted = LogDensity(schools, guide.latents, (), {})(u[None])[0] + log_det
    torch.testing.assert_close(trace.log_prob_sum(), wanted, atol=1e-3, rtol=1e-4)
    values = guide.from_noise(noise.expand(4, -1))
    assert values["theta"].shape == (4, 8)
    torch.testing.assert_close(values["mu"], u[0].expand(4))


def test_starts_where_it_is_told():
    start = {"x": torch.tensor(3.0)}
    guide = AutoFlow(gaussian, init_loc_fn=init_to_value(values=start))
    guide.setup()
    assert guide.whitening.loc.item() == 3.0
