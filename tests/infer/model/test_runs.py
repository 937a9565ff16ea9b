"""How a model runs at many draws: which way, what fails, what varies from run to run."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, LogDensity

from .models import CASES, STAY, Y
from .test_joint import packed, unconstrained_normal


def density(model, *args):
    guide = AutoFlow(model)
    guide.setup(*args)
    return LogDensity(model, guide.latents, args, {})


def test_the_choice_is_said_in_one_line():
    by_plate, by_vmap = (density(CASES[name].model) for name in ("hierarchical", "matrix product"))
    assert by_plate.how is None
    by_plate(torch.randn(4, 6))
    by_vmap(torch.randn(4, 6))
    assert str(by_plate.how).startswith("all draws run together under a plate, since")
    assert str(by_vmap.how).startswith(
        "all draws run together by torch.func.vmap, since under a plate it raises"
    )
    assert "\n" not in str(by_vmap.how)


def test_equal_rows_do_not_hide_how_a_model_broadcasts():
    found = density(CASES["takes a mean"].model)
    found(torch.zeros(3, 1))  # as a Hessian's copies of one vector
    assert found.how.way == "vmap"


REDUCTIONS = {
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "largest": lambda x: x.max(),
    "smallest": lambda x: x.min(),
    "norm": lambda x: x.norm(),
    "median": lambda x: x.median(),
    "deviation": lambda x: x.std(),
    "running sum": lambda x: x.cumsum(0).sum(-1),
    "reversed": lambda x: x.flip(0).cumsum(0).sum(-1),
    "without gradient": lambda x: x.detach().mean(),
    "count": lambda x: torch.tensor(float(len(x))),
    "weak": lambda x: 1e-6 * x.mean(),
}


WIDE = {name: (reduce, 1e4) for name, reduce in REDUCTIONS.items() if name != "without gradient"}
WIDE = {f"{name}, in other units": wide for name, wide in WIDE.items()}
REDUCED = {name: (reduce, 1.0) for name, reduce in REDUCTIONS.items()} | WIDE


@pytest.mark.parametrize(("reduce", "scale"), REDUCED.values(), ids=REDUCED)
def test_no_draw_is_moved_by_others(reduce, scale):
    """However little that changes beside a large log-likelihood, and whatever the latents' units."""
    y = 3 * scale + torch.zeros(1000)

    def model():
        with pyro.plate("group", 4):
            x = pyro.sample("x", dist.Normal(0.0, scale))
        pyro.factor("reduced", -reduce(x / scale))
        z = pyro.sample("z", dist.Normal(0.0, scale))
        with pyro.plate("row", 1000):
            pyro.sample("y", dist.Normal(z, scale), obs=y)

    log_p = density(model)
    log_p.prepare(torch.zeros(1, 5))
    assert log_p.how.way == "vmap"
    u = scale * torch.randn(4, 5)
    assert log_p(u).equal(torch.cat([log_p(row[None]) for row in u]))


@pytest.mark.parametrize(
    ("total", "way"), [(lambda x: x.square().sum(-1), "plate"), (lambda x: x.square().sum(), "vmap")]
)
def test_no_draw_of_a_subsampled_model_is_moved_by_others(total, way):
    y = torch.randn(20)

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.factor("ridge", -total(x))
        with pyro.plate("row", 20, subsample_size=5) as rows:
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y[rows])

    log_p = density(model)
    log_p.prepare(torch.zeros(1, 3))
    assert log_p.runs.random
    assert log_p.how.way == way


def test_where_the_model_raises_no_draws_are_compared():
    """The others of a check lie nearer then: the draws run together all the same."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        if bool((x.abs() > 1).any()):
            raise ValueError("too large")
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.5))

    log_p = density(model)
    log_p.prepare(torch.zeros(1, 1))
    assert log_p.how.way == "plate"


def test_sites_that_come_and_go_are_refused():
    def latent():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        z = pyro.sample("z", dist.Normal(0.0, 1.0)) if x < 0.5 else 0.0
        pyro.sample("y", dist.Normal(x + z, 1.0), obs=torch.tensor(1.0))

    def observed():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y" if x < 0.5 else "z", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    guide = AutoFlow(latent)
    guide.setup()
    log_p = LogDensity(latent, guide.latents, (), {})
    with (
        pytest.warns(UserWarning, match="does not run at many draws at once"),
        pytest.raises(ValueError, match="the same sites at all values of the latent ones; got one with 'z'"),
    ):
        log_p(torch.tensor([[-1.0, 0.0], [-0.9, 0.0], [-0.8, 0.0], [1.0, 0.0]]))
    without = LogDensity(latent, packed(lambda: pyro.sample("x", dist.Normal(0.0, 1.0))), (), {})
    with (
        pytest.warns(UserWarning, match="does not run at many draws at once"),
        pytest.raises(ValueError, match="expected a value of every latent site; got none of 'z'"),
    ):
        without(torch.tensor([[1.0], [0.9], [0.8], [-1.0]]))
    with (
        pytest.warns(UserWarning, match="does not run at many draws at once"),
        pytest.raises(ValueError, match="the same sites at all values of the latent ones; got one with"),
    ):
        pf.infer.importance(observed, lambda: pyro.sample("x", dist.Normal(0.5, 1.0)), num_samples=20)


def both():
    x, z = (pyro.sample(name, dist.Normal(0.0, 1.0)) for name in "xz")
    pyro.sample("y", dist.Normal(x + z, 1.0), obs=torch.tensor(1.0))


@pytest.mark.parametrize("fixed", ["x", "xz"])
def test_latent_sites_that_the_model_does_not_have_are_refused(fixed):
    model = poutine.condition(both, {name: torch.tensor(3.0) for name in fixed})
    guide = AutoFlow(both)
    guide.setup()
    mixture = pf.infer.AutoMixture([AutoFlow(both), AutoFlow(both)])
    uses = [
        lambda: pf.infer.fit_vi(model, guide, progress=False),
        lambda: pf.infer.flow_mcmc(model, guide, progress=False),
        lambda: mixture.weigh(model),
        lambda: pf.infer.importance(model, guide),
    ]
    got = ", ".join(fixed)
    for use in uses:
        with pytest.raises(ValueError, match=f"a guide of the latent variables only; got also {got}"):
            use()


def test_a_density_that_is_the_same_everywhere_is_refused():
    def model():
        pyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))

    with pytest.raises(ValueError, match="expected a log-density that depends on the latent sites"):
        pf.infer.fit_vi(model, AutoFlow(model), progress=False)


def test_gradients_pass_by_draws_whose_log_density_is_nan():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x.log(), 1.0), obs=torch.tensor(0.0))

    log_p = density(model)
    u = torch.tensor([[0.5], [-0.5], [2.0]], requires_grad=True)
    found = log_p(u)
    assert found[1] == -math.inf
    (gradient,) = torch.autograd.grad(found.sum(), u)
    wanted = -u - u.abs().log() / u
    wanted[1] = 0.0
    torch.testing.assert_close(gradient, wanted)


def test_the_check_waits_for_a_density():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Exponential(1.0), obs=x.mean())

    log_p = density(model)
    assert (log_p(-1 - torch.rand(4, 1)) == -math.inf).all()
    u = 1 + torch.rand(4, 1)
    torch.testing.assert_close(log_p(u), (dist.Normal(0.0, 1.0).log_prob(u) - u)[:, 0])


def test_failed_draws_weigh_nothing_and_are_counted():
    case = CASES["covariance"]
    guide = unconstrained_normal(packed(case.model))
    with pytest.warns(
        UserWarning, match=r"raised at \d+ of 2000 draws, which count as density zero; first _LinAlg"
    ):
        result = pf.infer.importance(case.model, guide, num_samples=2000)
    outside = result.evaluation.values["r"].abs() >= 1
    assert result.evaluation.failed == int(outside.sum()) > 400
    assert result.evaluation.raised.equal(outside)
    assert "after the site 'r'" in result.evaluation.failure
    assert (result.log_weights[outside] == -math.inf).all()
    grid = torch.linspace(-1, 1, 20_001)[1:-1]
    exact = torch.stack([case.log_joint({"r": r}) for r in grid[::20]]).exp().sum().mul(20 * 1e-4).log()
    assert result.log_evidence == pytest.approx(float(exact), abs=5 * result.log_evidence_error)
    assert result.moments()[0]["r"].isfinite()
    assert result.moments(corrected=False)[0]["r"].isfinite()


@pytest.mark.parametrize("name", ["covariance", "covariance of one draw"])
def test_matrices_without_a_factor_do_not_stop_the_others(name):
    case, runs = CASES[name], 0

    def model():
        nonlocal runs
        runs += 1
        case.model()

    log_p = LogDensity(model, packed(case.model), (), {})
    u = torch.linspace(-1.4, 1.4, 41)[:, None].requires_grad_()
    log_p(torch.zeros(1, 1))
    runs = 0
    with pytest.warns(UserWarning, match=r"raised at 12 of 41 draws.*first _LinAlgError after the site 'r'"):
        found = log_p(u)
    assert runs == 2  # one that raises, and one with the matrices told apart
    assert log_p(u).equal(found)
    assert runs == 3
    inside = u[:, 0].abs() < 1
    wanted = torch.stack([case.log_joint({"r": r}) for r in u[:, 0]])
    torch.testing.assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(found.sum(), u)
    (by_hand,) = torch.autograd.grad(wanted[inside].sum(), u)
    torch.testing.assert_close(gradient[inside], by_hand[inside])
    assert gradient.isfinite().all()


def test_a_gaussian_hidden_markov_model_runs_by_vmap():
    def model():
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
        eye = torch.eye(2)
        start, noise = dist.MultivariateNormal(torch.zeros(2), eye), dist.Normal(torch.zeros(2), scale)
        hmm = dist.GaussianHMM(start, eye, start, eye, noise.to_event(1), duration=3)
        pyro.sample("y", hmm, obs=torch.tensor([[1.0, 0.5], [2.0, 0.0], [1.5, -1.0]]))

    log_p = density(model)
    u = torch.tensor([[-0.5], [0.0], [0.7]], requires_grad=True)
    found = log_p(u)
    assert log_p.how.way == "vmap"
    steps = torch.tensor([2.0, 3.0, 4.0])  # variance of each step's state, of which the smaller are shared
    shared = torch.minimum(steps[:, None], steps)
    y = torch.tensor([[1.0, 0.5], [2.0, 0.0], [1.5, -1.0]])
    covariance = shared + u.exp().square()[..., None] * torch.eye(3)
    data = dist.MultivariateNormal(torch.zeros(3), covariance[:, None]).log_prob(y.mT).sum(-1)
    wanted = data + dist.Normal(0.0, 0.5).log_prob(u)[:, 0]
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(part.sum(), u)[0] for part in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_more_than_half_of_the_draws_failing_is_an_error_that_names_the_site():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        covariance = torch.eye(2) * (x[..., None, None] - 1)
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), covariance), obs=torch.zeros(2))

    log_p = LogDensity(model, packed(CASES["one at a time"].model), (), {})
    u = torch.cat([torch.full((2, 1), 2.0), torch.full((5, 1), -1.0)])
    with pytest.raises(ValueError, match=r"raised at \d of 7 draws .*after the site 'x'.*positive"):
        log_p(u)
    nothing = LogDensity(model, packed(CASES["one at a time"].model), (), {})
    with pytest.raises(ValueError, match=r"raised at all of .* draws, first .* after the site 'x'"):
        nothing(torch.full((4, 1), -3.0))


def hidden(draw):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        k = draw()
        pyro.sample("y", dist.Normal(x + k, 1.0), obs=torch.tensor(1.0))

    return model


@pytest.mark.parametrize(
    "draw",
    [
        lambda: poutine.block(lambda: pyro.sample("k", dist.Bernoulli(0.5)))(),
        lambda: poutine.block(lambda: pyro.sample("k", dist.Normal(0.0, 1.0)))(),
        lambda: torch.rand(()),
    ],
    ids=["discrete", "continuous", "by hand"],
)
def test_what_is_redrawn_in_every_run_is_no_density(draw):
    model = hidden(draw)
    log_p = density(model)
    log_p.prepare(torch.zeros(1, 1))
    assert log_p.redrawn
    with pytest.raises(ValueError, match=r"the same in every run; got one that varies"):
        log_p(torch.zeros(3, 1))


def test_random_numbers_that_do_not_matter_do_no_harm():
    model = hidden(lambda: 0.0 * torch.rand(()))
    log_p = density(model)
    assert log_p(torch.zeros(3, 1)).isfinite().all()
    assert not log_p.redrawn


def test_subsamples():
    y = torch.randn(20)

    def model(index=None):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        size = None if index is not None else 5
        with pyro.plate("row", 20, subsample_size=size, subsample=index) as rows:
            pyro.sample("y", dist.Normal(x, 1.0), obs=y[rows])

    fresh = density(model)
    values = torch.stack([fresh(torch.zeros(2, 1)) for _ in range(5)])
    assert fresh.runs.random
    assert not fresh.redrawn
    assert (values[:, 0] == values[:, 1]).all()
    assert values[:, 0].std() > 0
    index = torch.arange(5)
    fixed = density(model, index)
    with pytest.warns(UserWarning, match=r"has seen a part of the data only.*5 of 20 in plate 'row'"):
        found = fixed(torch.zeros(2, 1))
    wanted = (
        dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.0)) + 4 * dist.Normal(0.0, 1.0).log_prob(y[:5]).sum()
    )
    torch.testing.assert_close(found, wanted.expand(2))


def located(y):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def local(y):
    with pyro.plate("row", len(y)):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def test_a_second_data_set_of_another_size():
    guide = AutoFlow(located)
    guide.setup(Y)
    guide.initialise(Y)
    result = pf.infer.importance(located, guide, torch.ones(6), num_samples=20)
    assert result.evaluation.log_likelihood["y"].shape == (20, 6)
    found = LogDensity(located, guide.latents, (torch.ones(6),), {})(torch.zeros(2, 1))
    torch.testing.assert_close(found, 7 * dist.Normal(0.0, 1.0).log_prob(torch.zeros(2)) - 3.0)
    rows = AutoFlow(local)
    rows.setup(Y)
    with pytest.raises(ValueError, match=r"'x' has shape \(4,\), as the guide has it; got \(6,\)"):
        LogDensity(local, rows.latents, (torch.ones(6),), {})(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"'x' has shape \(4,\), as the guide has it; got \(6,\)"):
        pf.infer.importance(
            local, lambda y: pyro.sample("x", dist.Normal(torch.zeros(4), 1.0)), torch.ones(6)
        )


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (dist.Bernoulli(0.3), r"infer=\{'enumerate': 'parallel'\}.*config_enumerate"),
        (dist.Poisson(3.0), "Pyro does not enumerate the values of a Poisson"),
    ],
)
def test_a_discrete_site_that_is_not_marked_is_told_how_to(draw, told):
    def model():
        k = pyro.sample("k", draw)
        pyro.sample("y", dist.Normal(k, 1.0), obs=torch.tensor(1.0))

    with pytest.raises(ValueError, match=rf"the discrete 'k'.*{told}"):
        AutoFlow(model).setup()
    with pytest.raises(ValueError, match=f"none for k.*{told}"):
        pf.infer.importance(model, lambda: pyro.sample("z", dist.Normal(0.0, 1.0)))


def test_computed_observations_are_not_reported_as_data():
    case = CASES["outside the support"]
    result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=50)
    assert "y" in result.evaluation.log_likelihood
    assert "y" not in result.evaluation.observed


def test_reparameterised_sites_are_deterministic():
    for name, site in (("reparameterised", "theta"), ("a point", "double")):
        case = CASES[name]
        result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=50)
        e = result.evaluation
        assert list(e.log_likelihood) == ["y"]
        assert site in e.deterministic
        assert site not in e.log_prior
    torch.testing.assert_close(e.deterministic["double"], 2 * e.values["x"])
    assert set(e.deterministic) == {"double", "triple"}


def test_predictions_by_vmap():
    case = CASES["sums over everything"]
    result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=4000)
    residuals = result.predicted["y"] - result.draws["x"].sum(-1)
    assert residuals.mean() == pytest.approx(0.0, abs=0.06)
    assert residuals.std() == pytest.approx(1.0, abs=0.05)


def test_draws_of_discrete_sites():
    case = CASES["mixture"]
    result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=300)
    loc, share = result.draws["loc"], result.draws["share"]
    likelihood = dist.Normal(loc[:, None, :], 1.0).log_prob(Y[:, None])
    logits = likelihood[..., 1] - likelihood[..., 0] + share.logit()[:, None]
    wanted = logits.sigmoid()
    drawn = result.discrete["z"]
    assert drawn.shape == (300, 4)
    error = (wanted * (1 - wanted)).sum(0).sqrt() / 300
    assert ((drawn.float().mean(0) - wanted.mean(0)).abs() < 4.5 * error).all()
    assert result.predicted["y"].shape == (300, 4)


def test_draws_of_a_hidden_markov_models_states():
    case = CASES["hidden Markov model"]
    result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=400)
    assert {name: value.shape for name, value in result.discrete.items()} == {
        f"z_{t}": (400,) for t in range(4)
    }
    loc = result.draws["loc"]
    emission = dist.Normal(loc[:, None, :], 1.0).log_prob(Y[:, None])
    forward = STAY[0].log() + emission[:, 0]
    for t in range(1, 4):
        forward = (forward[:, :, None] + STAY.log()).logsumexp(1) + emission[:, t]
    wanted = forward.softmax(-1)[:, 1]  # of the last state, given all observations
    error = (wanted * (1 - wanted)).sum().sqrt() / 400
    assert abs(result.discrete["z_3"].float().mean() - wanted.mean()) < 4.5 * error
    assert list(result.evaluation.log_likelihood) == ["y_0, …, y_3"]
    assert result.predicted["y_2"].shape == (400,)


def test_capture_recapture_against_a_grid():
    case = CASES["capture-recapture"]
    guide = AutoFlow(case.model)
    guide.setup()
    assert sorted(guide.sample_posterior(3)) == ["phi", "rho"]  # the discrete sites are not the guide's
    result = pf.infer.importance(case.model, unconstrained_normal(guide.latents), num_samples=4000)
    places = (torch.arange(200) + 0.5) / 200
    phi, rho = torch.meshgrid(places, places, indexing="ij")
    grid = torch.stack([case.log_joint({"phi": phi[i], "rho": rho[i]}) for i in range(200)])
    exact = float(grid.flatten().logsumexp(0)) - 2 * math.log(200)
    assert result.log_evidence == pytest.approx(exact, abs=4 * result.log_evidence_error)
    weights = grid.flatten().softmax(0).reshape(200, 200)
    means, sds = result.moments()
    for name, values in (("phi", phi), ("rho", rho)):
        mean = float((weights * values).sum())
        sd = float((weights * (values - mean).square()).sum().sqrt())
        assert float(means[name]) == pytest.approx(mean, abs=0.08 * sd)
        assert float(sds[name]) == pytest.approx(sd, rel=0.08)
    assert {name: value.shape for name, value in result.discrete.items()} == {
        "alive_1": (4000, 4),
        "alive_2": (4000, 4),
    }
    assert (result.discrete["alive_1"][:, 1] == 1).all()  # it was caught then
