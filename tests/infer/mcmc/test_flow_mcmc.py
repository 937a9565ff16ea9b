"""`flow_mcmc` against closed forms, from guides that are wrong."""

import math
import re
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Predictive
from pyro.infer.autoguide import AutoNormal

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, MCMCSettings, flow_mcmc
from pyro_flows.infer.mcmc import flow_mcmc as flow_mcmc_module
from pyro_flows.infer.mcmc import sampler
from pyro_flows.transforms import DiagonalScaling

Y = torch.tensor([1.2, -0.4, 0.9, 2.1])


def conjugate(y):
    """A Gaussian location: the posterior is N(Σy / (n + 1), 1 / (n + 1))."""
    x = pyro.sample("x", dist.Normal(y.new_zeros(()), 1.0))
    pyro.deterministic("square", x**2)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def guide_of(model, *args, loc=0.0, scale=1.0):
    """A Gaussian guide, as a flow, at a place of our choice."""
    guide = AutoFlow(model, lambda dim: DiagonalScaling(dim))
    guide.setup(*args)
    ones = torch.ones_like(guide.whitening.loc)
    guide.whitening.place(loc * ones, torch.diag(scale * ones))
    guide.initialised.fill_(True)
    return guide


def run(model, guide, *args, **kwargs):
    """Many short chains, which say nothing of R̂: it asks for many draws of each."""
    short = {"num_chains": 128, "num_samples": 40, "warmup_steps": 40, "thinning": 1}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains have not mixed")
        return flow_mcmc(model, guide, *args, **(short | {"progress": False, "seed": 0} | kwargs))


@pytest.mark.parametrize(("loc", "scale"), [(2.0, 0.5), (0.8, 0.1), (-4.0, 4.0)])
def test_a_gaussian_location_from_a_wrong_guide(loc, scale):
    chains = run(conjugate, guide_of(conjugate, Y, loc=loc, scale=scale), Y)
    mean, sd = float(Y.sum()) / 5, math.sqrt(1 / 5)
    x = chains.samples["x"]
    error = 4 / math.sqrt(float(chains.ess["x"]))
    assert x.shape == (128, 40)
    assert float(x.mean()) == pytest.approx(mean, abs=error * sd)
    assert float(x.std()) == pytest.approx(sd, rel=error)
    assert float((x > mean + 2 * sd).double().mean()) == pytest.approx(0.02275, abs=error * 0.15)
    torch.testing.assert_close(chains.samples["square"], x**2)


def test_chains_that_have_mixed_say_so():
    guide = guide_of(conjugate, Y, loc=0.7, scale=0.5)
    chains = flow_mcmc(conjugate, guide, Y, num_samples=200, num_chains=8, progress=False, seed=0)
    assert chains.converged
    assert chains.worst_r_hat <= 1.01
    assert chains.least_ess > 800
    assert float(chains.independence_acceptance.mean()) > 0.7


def test_draws_are_as_pyros():
    chains = run(conjugate, guide_of(conjugate, Y), Y, num_samples=20, num_chains=16, warmup_steps=20)
    assert set(chains.get_samples()) == {"x", "square"}
    assert chains.get_samples(group_by_chain=True)["x"].equal(chains.samples["x"])
    assert chains.get_samples()["x"].equal(chains.samples["x"].flatten())
    assert chains.get_samples(7)["x"].shape == (7,)
    few = chains.get_samples(7, group_by_chain=True)
    assert few["x"].shape == (16, 7)
    assert torch.isin(few["x"][3], chains.samples["x"][3]).all()
    torch.testing.assert_close(few["square"], few["x"] ** 2)
    assert Predictive(conjugate, chains.get_samples())(Y)["y"].shape == (320, 4)
    assert set(chains.diagnostics()["x"]) == {"n_eff", "r_hat"}
    assert re.match(r"16 chains of 20 draws: R̂ ≤ [01]\.\d+, effective sample size ≥ \d+; ", str(chains))


def test_one_seed_gives_the_same_draws_and_leaves_other_random_numbers_alone():
    guide = guide_of(conjugate, Y)
    few = MCMCSettings(num_samples=20, num_chains=8, warmup_steps=20, thinning=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        first = flow_mcmc(conjugate, guide, Y, settings=few, seed=5)
        after = torch.rand(())
        second, other = (flow_mcmc(conjugate, guide, Y, settings=few, seed=seed) for seed in (5, 6))
    torch.manual_seed(3)
    assert after == torch.rand(())
    assert first.latents["x"].equal(second.latents["x"])
    assert not first.latents["x"].equal(other.latents["x"])


def test_one_seed_gives_the_same_draws_by_fresh_guides():
    few = MCMCSettings(num_samples=4, num_chains=8, warmup_steps=5, thinning=1, progress=False, seed=5)
    found = []
    for other in (1, 2):
        torch.manual_seed(other)
        before = torch.get_rng_state()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the chains have not mixed")
            found.append(flow_mcmc(conjugate, AutoFlow(conjugate), Y, settings=few).latents["x"])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)


def test_thinned_chains_keep_every_so_many_draws():
    guide = guide_of(conjugate, Y, loc=3.0, scale=0.3)
    options = {"warmup_steps": 8, "num_chains": 4}
    every = run(conjugate, guide, Y, num_samples=20, **options).latents["x"]
    fifth = run(conjugate, guide, Y, num_samples=4, thinning=5, **options).latents["x"]
    assert fifth.equal(every[:, 4::5])


def test_chains_that_have_not_mixed_go_on(monkeypatch):
    guide = guide_of(conjugate, Y, loc=0.7, scale=2.0)
    options = {"num_samples": 20, "num_chains": 16, "warmup_steps": 20, "proposals": 1}
    monkeypatch.setattr(sampler, "MOST_THINNING", 4)
    found = run(conjugate, guide, Y, **options, thinning=None)
    assert found.shape == (16, 20)
    assert found.thinning == 4 or found.converged
    assert found.thinning > 1
    monkeypatch.setattr(flow_mcmc_module, "MOST_R_HAT", 10.0)
    assert run(conjugate, guide, Y, **options, thinning=None).thinning == 1


def constrained():
    """Scale and shares with priors that are also their posteriors."""
    pyro.sample("scale", dist.Gamma(3.0, 2.0))
    pyro.sample("shares", dist.Dirichlet(torch.tensor([2.0, 3.0, 5.0])))


def test_constrained_sites_in_their_own_space():
    chains = run(constrained, guide_of(constrained))
    scale, shares = chains.samples["scale"], chains.samples["shares"]
    assert shares.shape == (128, 40, 3)
    error = 4 / math.sqrt(chains.least_ess)
    assert float(scale.mean()) == pytest.approx(1.5, abs=error * 0.866)
    assert float(scale.std()) == pytest.approx(math.sqrt(3) / 2, rel=2 * error)
    assert shares.mean((0, 1)) == pytest.approx(torch.tensor([0.2, 0.3, 0.5]), abs=error * 0.15)
    expected = dist.Gamma(3.0, 2.0).log_prob(scale) + dist.Dirichlet(torch.tensor([2.0, 3.0, 5.0])).log_prob(
        shares
    )
    torch.testing.assert_close(chains.evaluation.log_p.float(), expected.flatten(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        chains.log_q, chains.guide.log_prob(chains.latents).double(), rtol=1e-3, atol=1e-3
    )


def pair(y):
    """Two known normals and their unknown shares; who is of which is summed out."""
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    with pyro.plate("row", len(y)):
        which = pyro.sample("which", dist.Bernoulli(share), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(6 * which, 1.0), obs=y)


def test_discrete_sites_are_summed_out_and_drawn_afterwards():
    y = torch.tensor([0.1, -0.3, 6.2, 0.4])  # one of four: the posterior is nearly Beta(2, 4)
    chains = run(pair, guide_of(pair, y, loc=-0.5), y)
    error = 4 / math.sqrt(chains.least_ess)
    assert float(chains.samples["share"].mean()) == pytest.approx(1 / 3, abs=error * 0.18)
    assert chains.discrete["which"].shape == (5120, 4)
    assert chains.discrete["which"].float().mean(0) == pytest.approx(
        torch.tensor([0.0, 0.0, 1.0, 0.0]), abs=0.01
    )
    assert chains.predicted["y"].shape == (5120, 4)


def half():
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    if bool((x > 0.5).any()):
        raise RuntimeError("too large")


def test_states_at_which_the_model_raises_have_no_density():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it raises
        chains = run(half, guide_of(half), num_samples=20, num_chains=8, warmup_steps=10)
    x = chains.latents["x"]
    assert float(x.max()) <= 0.5
    error = 4 / math.sqrt(float(chains.ess["x"]))
    normal = torch.distributions.Normal(0.0, 1.0)
    cut = torch.tensor(0.5)
    assert float(x.mean()) == pytest.approx(-float(normal.log_prob(cut).exp() / normal.cdf(cut)), abs=error)


def test_chains_that_have_not_mixed_say_so():
    guide = guide_of(conjugate, Y, loc=60.0, scale=0.01)
    with pytest.warns(UserWarning, match=r"R̂ of 'x' is .*thinning=4") as caught:
        chains = flow_mcmc(conjugate, guide, Y, num_samples=4, warmup_steps=0, thinning=1, progress=False)
    assert caught[0].filename == __file__
    assert not chains.converged


def test_what_cannot_be_sampled_is_refused():
    def subsampled():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 4, subsample_size=2) as rows:
            pyro.sample("y", dist.Normal(x, 1.0), obs=Y[rows])

    def nowhere():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("never", -math.inf * (x < 100.0))

    with pytest.raises(TypeError, match="expected an AutoFlow or an AutoMixture; got AutoNormal"):
        flow_mcmc(conjugate, AutoNormal(conjugate), Y)
    with pytest.raises(ValueError, match=r"over all data.*got 2 of 4 in plate 'row'"):
        run(subsampled, guide_of(subsampled))
    with pytest.raises(ValueError, match="where the model has density"):
        run(nowhere, guide_of(nowhere))
    with pytest.raises(TypeError, match="the model and flow_mcmc both have"):
        flow_mcmc(lambda seed: conjugate(Y), guide_of(conjugate, Y), seed=1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_samples": 3}, ValueError),
        ({"num_chains": 0}, ValueError),
        ({"warmup_steps": -1}, ValueError),
        ({"warmup_steps": 1.0}, TypeError),
        ({"acceptance": 1.0}, ValueError),
        ({"seed": "one"}, TypeError),
        ({"chains": 4}, TypeError),
    ],
)
def test_settings_are_checked(options, error):
    with pytest.raises(error):
        MCMCSettings(**options)


def test_arviz_gets_an_ordinary_posterior():
    pytest.importorskip("xarray")
    chains = run(conjugate, guide_of(conjugate, Y), Y, num_samples=30, num_chains=8, warmup_steps=50)
    idata = pf.diagnostics.to_arviz(chains, coords={"row": list("abcd")})
    posterior = idata["posterior"]
    assert dict(posterior["x"].sizes) == {"chain": 8, "draw": 30}
    assert torch.as_tensor(posterior["x"].values).equal(chains.samples["x"])
    assert dict(idata["log_likelihood"]["y"].sizes) == {"chain": 8, "draw": 30, "row": 4}
    assert {"lp", "acceptance_rate"} <= set(idata["sample_stats"].data_vars)
    assert "draws" not in posterior.attrs  # the note that a guide's draws are no Markov chain
    with pytest.raises(ValueError, match="got those of Markov chains"):
        pf.diagnostics.to_arviz(chains, corrected=True)
