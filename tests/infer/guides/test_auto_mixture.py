"""Mixtures of flows: their density, their weights against known ones, and their use as any guide."""

import copy
import math
import pickle
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, AutoMixture, fit_vi, flow_mcmc, importance
from pyro_flows.infer.guides import start
from pyro_flows.infer.guides.flow_mixture import FlowMixture
from pyro_flows.infer.guides.mixture_weights import apart, connected, share_log_weights
from pyro_flows.infer.vi.vi_run import VIRun
from pyro_flows.loop.clipped_step import NonFiniteLoss
from pyro_flows.transforms import DiagonalScaling

SHARES = torch.tensor([0.3, 0.7])


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)


def two_modes(dim=2, distance=10.0):
    """Two standard normals, so many standard deviations apart; the evidence is one."""
    means = torch.zeros(2, dim)
    means[:, 0] = torch.tensor([-0.5, 0.5]) * distance

    def model():
        prior = dist.Normal(torch.zeros(dim), 8.0).to_event(1)
        x = pyro.sample("x", prior)
        modes = dist.Normal(means, 1.0).to_event(1).log_prob(x.unsqueeze(-2)) + SHARES.log()
        pyro.factor("modes", modes.logsumexp(-1) - prior.log_prob(x))

    return model


def gaussian(model, loc, scale=1.0):
    """A Gaussian member at a place of our choice."""
    guide = AutoFlow(model, lambda dim: DiagonalScaling(dim))
    guide.setup()
    zeros = torch.zeros_like(guide.whitening.loc)
    zeros[0] = loc
    guide.whitening.place(zeros, torch.diag(scale * torch.ones_like(zeros)))
    guide.initialised.fill_(True)
    return guide


def both(model, distance=10.0):
    return AutoMixture([gaussian(model, -distance / 2), gaussian(model, distance / 2)])


def test_the_density_is_that_of_a_mixture():
    model = two_modes(dim=1)
    parts = [gaussian(model, 0.0).get_posterior(), gaussian(model, 2.0, 0.5).get_posterior()]
    mixture = FlowMixture(parts, torch.tensor([0.0, math.log(3.0)]))
    known = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([0.25, 0.75])),
        dist.Normal(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.5])),
    )
    u = torch.randn(5, 3, 1)
    torch.testing.assert_close(mixture.log_prob(u), known.log_prob(u[..., 0]))
    draws = mixture.sample((20_000,))
    assert float(draws.mean()) == pytest.approx(1.5, abs=0.03)
    assert float(draws.std()) == pytest.approx(float(known.variance.sqrt()), rel=0.02)
    wide = mixture.expand((4, 3))
    assert wide.sample((2,)).shape == (2, 4, 3, 1)
    assert wide.log_prob(wide.sample()).shape == (4, 3)
    assert mixture.sample((0,)).shape == (0, 1)
    with pytest.raises(ValueError, match=r"got 2 components and weights of shape \(3,\)"):
        FlowMixture(parts, torch.zeros(3))


@pytest.mark.parametrize("distance", [10.0, 2.0])
def test_weights_are_shares_of_the_evidence_however_much_members_overlap(distance):
    model = two_modes(distance=distance)
    guide = both(model, distance)
    guide.weigh(model)
    assert guide.weights == pytest.approx(SHARES, abs=0.03)
    result = importance(model, guide)
    assert result.log_evidence == pytest.approx(0.0, abs=0.02)
    assert pf.diagnostics.report(result).verdict == "good"


def test_members_that_repeat_another_are_left_out():
    model = two_modes()
    members = [gaussian(model, -5.0, 1.2), gaussian(model, 5.0), gaussian(model, -5.0), gaussian(model, -5.1)]
    guide = AutoMixture([*members, gaussian(model, 12.0)])  # the last where there is next to nothing
    assert guide.weigh(model) == [[1], [2, 3, 0]]
    assert guide.weights.tolist() == pytest.approx([0.0, 0.7, 0.3, 0.0, 0.0], abs=0.02)
    assert guide.weights[[0, 3, 4]].eq(0).all()
    assert len(guide.get_posterior().components) == 2
    assert guide.weigh(model, only=[0, 3]) == [[3, 0]]
    assert guide.weights.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_components_that_touch_are_connected():
    model = two_modes()
    places = {0: -20.0, 1: 0.0, 3: 20.0, 4: 6.0, 6: 11.0}
    parts = {k: gaussian(model, x).get_posterior() for k, x in places.items()}
    assert connected(parts, touching=True) == [[0], [1, 4, 6], [3]]
    assert connected(parts) == [[0], [1], [3], [4], [6]]
    near = {k: gaussian(model, x).get_posterior() for k, x in {0: 0.0, 1: 2.0, 2: 4.0, 3: 9.0}.items()}
    assert connected(near) == [[0, 1, 2], [3]]
    density = pf.infer.LogDensity(model, gaussian(model, 0.0).latents, (), {})
    assert list(apart({7: parts[1], 2: parts[4]}, density)) == [2, 7]  # the one nearer to a mode first


def test_members_without_density_get_no_weight():
    def model():
        x = pyro.sample("x", dist.Normal(3.0, 1.0))
        pyro.factor("positive", torch.where(x > 0, 0.0, -math.inf))

    guide = AutoMixture([gaussian(model, 3.0), gaussian(model, -50.0)])
    guide.weigh(model)  # of a few draws of the first the density is zero too
    assert guide.weights.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="expected a member whose draws lie where the model has density"):
        AutoMixture([gaussian(model, -50.0)]).weigh(model)


def test_a_member_that_cannot_be_fitted_gets_no_weight(monkeypatch):
    train = VIRun._train

    def broken(self, bar):
        if self.guide is guide.guides[1]:
            raise NonFiniteLoss("the gradient was NaN")
        train(self, bar)

    monkeypatch.setattr(VIRun, "_train", broken)
    model = two_modes()
    guide = AutoMixture([gaussian(model, -5.0), gaussian(model, -20.0), gaussian(model, 5.0)])
    with (
        pytest.warns(UserWarning, match="member 1 could not be fitted: the gradient was NaN") as caught,
        pytest.warns(UserWarning, match="2 of 2 members found a part of the posterior that no other did"),
    ):
        history = fit_vi(model, guide, steps=5, progress=False, seed=0)
    assert caught[0].filename == __file__
    assert history.bounds[1] == -math.inf
    assert guide.weights == pytest.approx(torch.tensor([0.3, 0.0, 0.7]), abs=0.03)


def test_equal_components_share_what_one_would_have():
    model = two_modes()
    parts = [gaussian(model, at).get_posterior() for at in (-5.0, -5.0, 5.0)]
    density = pf.infer.LogDensity(model, gaussian(model, 0.0).latents, (), {})
    found = share_log_weights(parts, density, 4000).exp()
    assert found[:2] == pytest.approx(torch.tensor([0.15, 0.15], dtype=torch.double), abs=0.02)
    with pytest.raises(ValueError, match="all 600 weights are zero"):
        share_log_weights(parts, lambda u: u.new_full((len(u),), -math.inf), 10)


def test_twenty_dimensions():
    model = two_modes(dim=20)
    guide = both(model)
    guide.weigh(model)
    assert guide.weights == pytest.approx(SHARES, abs=0.03)
    assert importance(model, guide).log_evidence == pytest.approx(0.0, abs=0.02)


def test_fit_vi_finds_the_modes_and_their_weights(tmp_path):
    model = two_modes()

    def run():
        torch.manual_seed(0)
        guide = AutoMixture([AutoFlow(model, lambda dim: DiagonalScaling(dim)) for _ in range(3)])
        options = {"steps": 40, "seed": 0, "progress": False, "checkpoint": tmp_path / "run"}
        with pytest.warns(
            UserWarning, match="1 of 3 members found a part of the posterior that no other did"
        ):
            return guide, fit_vi(model, guide, **options)

    guide, history = run()
    kept = guide.weights[guide.weights > 0]
    assert kept.sort().values == pytest.approx(SHARES, abs=0.03)
    assert history.converged
    assert history.separation == pytest.approx(10.0, rel=0.05)
    assert len(history.bounds) == 2  # of those whose starts differ
    assert history.best_bound == pytest.approx(math.log(0.7), abs=0.01)
    assert history.elbo[-1] == pytest.approx(0.0, abs=0.01)
    again, resumed = run()
    assert resumed.bounds == history.bounds
    assert again.weights.equal(guide.weights)


def test_a_mixture_is_used_as_any_guide_is():
    model = two_modes()
    guide = both(model)
    assert set(guide()) == {"x"}
    guide.weigh(model)
    draws, log_q = guide.sample_and_log_prob(1000)
    assert draws["x"].shape == (1000, 2)
    torch.testing.assert_close(guide.log_prob(draws), log_q)
    assert float((draws["x"][:, 0] > 0).float().mean()) == pytest.approx(0.7, abs=0.06)
    assert guide.sample_posterior((2, 3))["x"].shape == (2, 3, 2)
    assert guide.median()["x"][0] == pytest.approx(4.1, abs=0.4)  # where 0.2 / 0.7 of the right mode lie
    assert guide.quantiles([0.1, 0.9])["x"].shape == (2, 2)
    elbo = pyro.infer.Trace_ELBO(num_particles=500, vectorize_particles=True)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.0}), elbo)
    assert svi.evaluate_loss() == pytest.approx(0.0, abs=0.02)


def test_constrained_sites_keep_their_density():
    def model():
        scale = pyro.sample("scale", dist.Gamma(3.0, 2.0))
        with pyro.plate("three", 3):
            pyro.sample("x", dist.Normal(0.0, scale))

    guide = AutoMixture([gaussian(model, -0.5, 0.8), gaussian(model, 0.5, 1.2)])
    result = importance(model, guide, num_samples=500)
    torch.testing.assert_close(
        result.evaluation.log_q.float(), guide.log_prob(result.draws), rtol=1e-4, atol=1e-4
    )


def test_saving_and_copying_keep_members_and_weights():
    model = two_modes()
    guide = both(model)
    guide.weigh(model)
    x = {"x": torch.randn(5, 2)}
    expected = guide.log_prob(x)
    fresh = AutoMixture([AutoFlow(model, lambda dim: DiagonalScaling(dim)) for _ in range(2)])
    fresh.setup()
    fresh.load_state_dict(guide.state_dict())
    copied = copy.deepcopy(guide)
    for other in (fresh, copied, pickle.loads(pickle.dumps(guide))):
        assert other.log_prob(x).equal(expected)
    copied.weigh(model)
    assert importance(model, copied, num_samples=200).log_evidence == pytest.approx(0.0, abs=0.02)


def test_values_loaded_into_the_parameter_store_are_taken_over(tmp_path):
    model = two_modes()

    def named():
        members = [AutoFlow(model, lambda dim: DiagonalScaling(dim), name=f"member{k}") for k in range(2)]
        return AutoMixture(members, name="mixture")

    guide = named()
    guide.setup()
    for member, at in zip(guide.guides, (-5.0, 5.0), strict=True):
        member.whitening.loc[0] = at
        member.initialised.fill_(True)
    guide.weigh(model)
    x = {"x": torch.randn(5, 2)}
    expected = guide.log_prob(x)
    pyro.get_param_store().save(tmp_path / "store")
    del guide, member
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "store")
    other = named()
    other.setup()
    assert other.log_prob(x).equal(expected)


def test_chains_move_within_and_between_the_modes():
    model = two_modes()
    guide = AutoMixture([gaussian(model, -5.2, 1.3), gaussian(model, 4.8, 0.8)])  # of equal weights, and off
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains have not mixed")  # R̂ asks for many draws of each
        chains = flow_mcmc(
            model, guide, num_samples=60, num_chains=64, warmup_steps=40, thinning=1, progress=False, seed=0
        )
    x = chains.samples["x"][..., 0]
    error = 4 / math.sqrt(chains.least_ess)
    assert float((x > 0).float().mean()) == pytest.approx(0.7, abs=error * 0.46)
    right = x[x > 0]
    assert float(right.mean()) == pytest.approx(5.0, abs=0.1)
    assert float(right.std()) == pytest.approx(1.0, abs=0.05)
    assert len(chains.step_sizes) == 2


def test_what_cannot_be_a_mixture_is_refused():
    model = two_modes()
    one = AutoFlow(model)
    with pytest.raises(TypeError, match="got AutoNormal"):
        AutoMixture([one, AutoNormal(model)])
    with pytest.raises(ValueError, match="got 2, 1 of them distinct"):
        AutoMixture([one, one])
    with pytest.raises(ValueError, match="got 0, 0 of them distinct"):
        AutoMixture([])
    with pytest.raises(ValueError, match="members of the same latent sites"):
        AutoMixture([one, AutoFlow(two_modes(dim=3))]).setup()

    def learning():
        scale = pyro.param("scale", torch.tensor(1.0))
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, scale.exp()), obs=torch.tensor(1.0))

    with pytest.raises(ValueError, match=r"without parameters of its own.*got scale"):
        fit_vi(learning, AutoMixture([AutoFlow(learning)]), progress=False)

    def subsampled():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 4, subsample_size=2) as rows:
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.arange(4.0)[rows])

    with pytest.raises(ValueError, match=r"over all data.*got 2 of 4"):
        AutoMixture([gaussian(subsampled, 0.0)]).weigh(subsampled)


def test_a_large_model_is_weighed_in_parts(monkeypatch):
    """The weights are those of all draws at once."""
    plain, seen = two_modes(), []

    def watched():
        with pyro.poutine.trace() as trace:
            plain()
        seen.append(trace.trace.nodes["x"]["value"].shape[:-1].numel())

    found = []
    for most in (2**22, 200):
        monkeypatch.setattr("pyro_flows.infer.model.runs._MOST_ELEMENTS", most)
        pyro.set_rng_seed(0)
        guide = both(watched)
        seen.clear()
        guide.weigh(watched, num_samples=4000)
        found.append((max(seen), guide.weights))
    assert found[0][0] == 4000
    assert found[1][0] == 100  # two log-densities a draw
    torch.testing.assert_close(found[0][1], found[1][1])


def test_fit_vi_says_nothing_of_modes_that_several_members_found(recwarn):
    model = two_modes()
    guide = AutoMixture([gaussian(model, x) for x in (-5.0, 5.0, -5.0, 5.0)])
    fit_vi(model, guide, steps=5, progress=False, seed=0)
    assert not recwarn.list


def three_in_a_row():
    """Three standard normals four standard deviations apart; the evidence is one."""
    means = torch.tensor([[-4.0, 0.0], [0.0, 0.0], [4.0, 0.0]])
    log_weights = torch.tensor([0.2, 0.5, 0.3]).log()

    def model():
        prior = dist.Normal(torch.zeros(2), 6.0).to_event(1)
        x = pyro.sample("x", prior)
        modes = dist.Normal(means, 1.0).to_event(1).log_prob(x.unsqueeze(-2)) + log_weights
        pyro.factor("modes", modes.logsumexp(-1) - prior.log_prob(x))

    return model


def members_in_a_row(model):
    return AutoMixture([gaussian(model, x, 1.5) for x in (-4.5, 0.5, 4.5)])


@pytest.mark.parametrize("path_gradient", [True, False])
def test_members_that_touch_are_trained_together(path_gradient):
    """Trained alone, each would grow into its neighbours."""
    model = three_in_a_row()
    guide = members_in_a_row(model)
    how = {"steps": 400, "tolerance": 2e-3, "path_gradient": path_gradient, "seed": 0, "progress": False}
    with pytest.warns(UserWarning, match="3 of 3 members found a part"):
        history = fit_vi(model, guide, **how)
    assert len(history.bounds) == 1
    assert history.converged
    assert guide.weights == pytest.approx(torch.tensor([0.2, 0.5, 0.3]), abs=0.03)
    places = torch.stack([member.whitening.location_and_scale()[0][0].detach() for member in guide.guides])
    assert places == pytest.approx(torch.tensor([-4.0, 0.0, 4.0]), abs=0.2)
    assert importance(model, guide).log_evidence == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("backend", [False, "eager"])
def test_training_together_resumes_with_the_same_bits(tmp_path, monkeypatch, backend):
    model = three_in_a_row()

    def run(name):
        guide = members_in_a_row(model)
        options = {"checkpoint": tmp_path / name, "checkpoint_every": 0, "tolerance": 0.0, "compile": backend}
        return guide, fit_vi(model, guide, steps=200, seed=0, progress=False, **options)

    warnings.filterwarnings("ignore", ".*found a part of the posterior")
    whole, history = run("whole")
    step, taken = VIRun._step, []

    def stopped(self):
        taken.append(None)
        if len(taken) == 130:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(VIRun, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("part")
    monkeypatch.setattr(VIRun, "_step", step)
    again, resumed = run("part")
    assert (tmp_path / "part.0+1+2").exists()
    assert resumed.elbo == history.elbo
    for mine, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert mine.equal(other)


@pytest.mark.parametrize("seed", [0, None])
def test_a_stopped_fit_goes_on_with_the_same_guide(tmp_path, monkeypatch, seed):
    """As in a notebook, where the line is run again: members that were trained a little start as they did."""
    model = three_in_a_row()

    def run(guide, name, drawn=7):
        pyro.set_rng_seed(drawn)  # what draws a seed if none is given
        options = {"checkpoint": tmp_path / name, "checkpoint_every": 0, "tolerance": 0.0}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*found a part of the posterior")
            return fit_vi(model, guide, steps=200, seed=seed, progress=False, **options)

    def members():
        pyro.set_rng_seed(3)
        return AutoMixture([AutoFlow(model, lambda dim: DiagonalScaling(dim)) for _ in range(4)])

    whole, stopped = members(), members()
    history = run(whole, "whole")
    step, taken = VIRun._step, []

    def interrupted(self):
        taken.append(None)
        if len(taken) == 130:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(VIRun, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, "part")
    monkeypatch.setattr(VIRun, "_step", step)
    resumed = run(stopped, "part", drawn=8)
    assert resumed.bounds == history.bounds
    assert resumed.elbo == history.elbo
    for mine, other in zip(whole.state_dict().values(), stopped.state_dict().values(), strict=True):
        assert mine.equal(other)
    with pytest.raises(ValueError, match="is of another run: expected steps 200; got 100"):
        fit_vi(
            model, stopped, steps=100, seed=seed, progress=False, checkpoint=tmp_path / "part", tolerance=0.0
        )
