"""Importance sampling against closed forms: evidence, tails, corrected draws; clear words where it fails."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf

Y = torch.tensor([1.2, -0.4, 0.9, 2.1])


def conjugate(y):
    """A Gaussian location: the posterior is N(Σy / (n + 1), 1 / (n + 1)), the evidence N(y; 0, I + 11ᵀ)."""
    x = pyro.sample("x", dist.Normal(y.new_zeros(()), 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def posterior(y):
    return float(y.sum() / (len(y) + 1)), 1 / math.sqrt(len(y) + 1)


def log_evidence(y):
    eye = torch.eye(len(y), dtype=y.dtype)
    return float(dist.MultivariateNormal(torch.zeros_like(y), eye + 1).log_prob(y))


def normal_guide(loc, scale):
    def guide(y):
        pyro.sample("x", dist.Normal(y.new_tensor(loc), scale))

    return guide


def test_the_posterior_itself_as_guide_has_constant_weights():
    result = pf.infer.importance(conjugate, normal_guide(*posterior(Y)), Y)
    assert result.log_evidence == pytest.approx(log_evidence(Y), abs=1e-4)
    assert result.elbo == pytest.approx(log_evidence(Y), abs=1e-4)
    assert result.khat == -math.inf
    assert result.problem is None
    assert result.ess == pytest.approx(4000, rel=1e-5)
    assert result.log_evidence_error < 1e-5


def test_evidence_moments_and_gap_of_a_shifted_wide_guide():
    loc, scale = posterior(Y)
    off = loc + 0.5 * scale, 1.3 * scale
    result = pf.infer.importance(conjugate, normal_guide(*off), Y, num_samples=20_000)
    gap = float(torch.distributions.kl_divergence(dist.Normal(*off), dist.Normal(loc, scale)))
    assert result.log_evidence == pytest.approx(log_evidence(Y), abs=4 * result.log_evidence_error)
    assert result.log_evidence_error < 0.01
    assert result.elbo == pytest.approx(log_evidence(Y) - gap, abs=4 * result.elbo_error)
    assert result.gap == pytest.approx(gap, abs=0.03)
    assert result.khat < 0.3
    means, sds = result.moments()
    assert means["x"] == pytest.approx(loc, abs=0.03 * scale)
    assert sds["x"] == pytest.approx(scale, rel=0.03)
    raw_means, raw_sds = result.moments(corrected=False)
    assert raw_means["x"] == pytest.approx(off[0], abs=0.04 * scale)
    assert raw_sds["x"] == pytest.approx(off[1], rel=0.03)
    drawn = result.resample(10_000)["x"]
    assert drawn.mean() == pytest.approx(loc, abs=0.04 * scale)
    assert drawn.std() == pytest.approx(scale, rel=0.04)


def test_the_standard_error_is_the_spread_over_repetitions():
    guide = normal_guide(posterior(Y)[0] + 0.2, 0.6)
    results = [pf.infer.importance(conjugate, guide, Y, num_samples=500) for _ in range(100)]
    estimates = torch.tensor([r.log_evidence for r in results])
    claimed = torch.tensor([r.log_evidence_error for r in results]).mean()
    assert estimates.std() == pytest.approx(float(claimed), rel=0.3)
    assert estimates.mean() == pytest.approx(log_evidence(Y), abs=0.02)


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.9])
def test_khat_of_a_narrow_normal(scale):
    """For a target N(0, 1) and a proposal N(0, s²), P(w > t) falls like t^(−1/(1−s²)): k = 1 − s²."""
    generator = torch.Generator().manual_seed(1)
    x = scale * torch.randn(200_000, generator=generator, dtype=torch.double)
    log_weights = dist.Normal(0.0, 1.0).log_prob(x) - dist.Normal(0.0, scale).log_prob(x)
    assert pf.infer.psis(log_weights).khat == pytest.approx(1 - scale**2, abs=0.1)


def arviz_psis(log_weights):
    """ArviZ's own smoothing: 1.0 took a slightly different tail, and turned the sign of the argument."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from arviz import psislw
    except ImportError:
        stats = pytest.importorskip("arviz_stats", reason="its smoothing is the reference")
        return *stats.base.array_stats.psislw(-log_weights), 0.1
    return *psislw(log_weights), 1e-6


@pytest.mark.parametrize("kind", ["light", "heavy", "short", "ties"])
def test_smoothing_is_arvizs(kind):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(50 if kind == "short" else 2000, generator=generator, dtype=torch.double)
    log_weights = {"light": 0.3, "heavy": 3.0, "short": 1.0, "ties": 1.0}[kind] * noise - 1234.0
    if kind == "ties":
        log_weights = log_weights.mul(20).round() / 20
    smoothed = pf.infer.psis(log_weights)
    expected, khat, tolerance = arviz_psis(log_weights.numpy())
    assert smoothed.khat == pytest.approx(float(khat), abs=tolerance)
    expected = torch.as_tensor(expected) - torch.as_tensor(expected).logsumexp(0)
    got = smoothed.log_weights
    if kind == "ties":  # equal weights may be told apart in any order
        got, expected = got.sort().values, expected.sort().values
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=3 * tolerance)


def test_log_mean_is_that_of_the_weights():
    log_weights = 0.2 * torch.randn(4000, dtype=torch.double) - 1234
    smoothed = pf.infer.psis(log_weights)
    assert smoothed.log_mean == pytest.approx(float(log_weights.logsumexp(0)) - math.log(4000), abs=1e-3)
    assert smoothed.log_weights.logsumexp(0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "khat", "words"),
    [
        (torch.zeros(100), -math.inf, None),
        (torch.full((100,), -1e6), -math.inf, None),
        (torch.cat([torch.randn(99), torch.tensor([math.nan])]), math.inf, "1 of 100 log weights are NaN"),
        (torch.cat([torch.tensor([math.inf]), torch.randn(99)]), math.inf, "the first of draw 0"),
        (torch.full((100,), -math.inf), math.inf, "all 100 weights are zero"),
        (torch.cat([torch.zeros(99), torch.tensor([9.0])]), math.inf, "only 1 of 100 weights stand out"),
        (torch.randn(10), math.inf, "too few to tell"),
    ],
)
def test_hopeless_weights_get_words(values, khat, words):
    smoothed = pf.infer.psis(values)
    assert smoothed.khat == khat
    assert smoothed.problem is None if words is None else words in smoothed.problem


def test_some_zero_weights_are_told_and_used():
    values = torch.randn(1000)
    values[:100] = -math.inf
    smoothed = pf.infer.psis(values)
    assert "100 of 1000 weights are zero" in smoothed.problem
    assert smoothed.khat < 1
    assert (smoothed.log_weights[:100] == -math.inf).all()
    assert smoothed.log_mean == pytest.approx(math.log(0.9) + 0.5, abs=0.15)


def test_the_site_at_fault_is_named():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("constraint", torch.where(x > 2, x.log(), math.nan * x))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pyro warns of NaN too
        result = pf.infer.importance(model, lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), num_samples=200)
    assert "not finite: constraint" in result.problem
    assert math.isnan(result.log_evidence)
    with pytest.raises(ValueError, match="expected usable importance weights"):
        result.resample()


def test_a_few_draws_at_which_the_log_density_is_nan_weigh_nothing():
    """As draws at which Pyro's validation raises do."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("bound", x.sqrt())

    def guide():
        pyro.sample("x", dist.Normal(1.0, 1.0))

    pyro.set_rng_seed(0)
    with pytest.warns(UserWarning, match=r"is NaN at \d+ of 4000 draws, which count as .* the site 'bound'"):
        result = pf.infer.importance(model, guide, num_samples=4000)
    negative = result.draws["x"] < 0
    assert result.evaluation.undefined == int(negative.sum()) > 400
    assert (result.log_weights[negative] == -math.inf).all()
    assert "weights are zero" in result.problem
    grid = (torch.arange(100_000, dtype=torch.double) + 0.5) * 1e-4
    exact = float((dist.Normal(0.0, 1.0).log_prob(grid) + grid.sqrt()).logsumexp(0)) + math.log(1e-4)
    assert result.log_evidence == pytest.approx(exact, abs=4 * result.log_evidence_error)


@pytest.mark.parametrize("auto", [AutoNormal, AutoMultivariateNormal])
def test_shapes_under_plates(auto):
    y = torch.randn(3, 4)

    def model(y, x):
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        groups, rows = pyro.plate("group", 3, dim=-2), pyro.plate("row", 4, dim=-1)
        with groups:
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with rows:
            b = pyro.sample("b", dist.Normal(torch.zeros(5), 1.0).to_event(1))
        with groups, rows:
            total = pyro.deterministic("sum", a + b.sum(-1))
            pyro.sample("y", dist.Normal(total + x, scale), obs=y)

    result = pf.infer.importance(model, auto(model), y, 0.5, num_samples=1500)
    e = result.evaluation
    shapes = {name: tuple(value.shape) for name, value in result.draws.items()}
    assert shapes == {"scale": (1500,), "a": (1500, 3, 1), "b": (1500, 4, 5), "sum": (1500, 3, 4)}
    assert {name: tuple(value.shape) for name, value in e.log_prior.items()} == {
        "scale": (1500,),
        "a": (1500, 3, 1),
        "b": (1500, 4),
    }
    assert e.log_likelihood["y"].shape == result.predicted["y"].shape == (1500, 3, 4)
    assert e.observed["y"].equal(y)
    assert e.plates["sum"] == {-1: "row", -2: "group"}
    torch.testing.assert_close(e.deterministic["sum"], e.values["a"] + e.values["b"].sum(-1)[:, None])
    again = dist.Normal(e.deterministic["sum"] + 0.5, e.values["scale"][:, None, None]).log_prob(y)
    torch.testing.assert_close(e.log_likelihood["y"], again)
    by_hand = again.flatten(1).sum(-1) + sum(part.reshape(1500, -1).sum(-1) for part in e.log_prior.values())
    torch.testing.assert_close(e.log_p, by_hand.double(), rtol=1e-5, atol=1e-4)
    assert result.log_weights.isfinite().all()


def test_batch_dimensions_without_a_plate_stay_apart():
    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.ones(3))

    guide = AutoMultivariateNormal(model, init_scale=1.0)
    result = pf.infer.importance(model, guide, num_samples=20_000)
    exact = 3 * float(dist.Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(1.0)))
    assert result.draws["x"].shape == (20_000, 3)
    assert result.log_evidence == pytest.approx(exact, abs=0.05)


def sums(x):
    return x.sum()


def branches(x):
    return x.sum() if x.sum().item() > 0 else x.sum() + 0.0


@pytest.mark.parametrize(("location", "way"), [(sums, "vmap"), (branches, "loop")])
def test_a_model_of_one_draw_at_a_time(location, way):
    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        total = pyro.deterministic("total", location(x))
        pyro.sample("y", dist.Normal(total, 1.0), obs=torch.tensor(1.0))

    def guide():
        pyro.sample("x", dist.Normal(torch.full((3,), 0.25), 0.9).to_event(1))

    with (
        warnings.catch_warnings()
        if way == "vmap"
        else pytest.warns(UserWarning, match="every draw runs alone")
    ):
        result = pf.infer.importance(model, guide, num_samples=400)
    exact = float(dist.Normal(0.0, 2.0).log_prob(torch.tensor(1.0)))
    assert result.log_evidence == pytest.approx(exact, abs=4 * result.log_evidence_error + 0.05)
    assert result.draws["x"].shape == (400, 3)
    torch.testing.assert_close(result.draws["total"], result.draws["x"].sum(-1))
    assert result.evaluation.how.way == way
    predicted = result.predicted["y"]
    assert predicted.shape == (400,)
    assert (predicted - result.draws["total"]).std() == pytest.approx(1.0, abs=0.15)


def test_a_flow_guide_and_float64():
    y = Y.double()
    flow = pf.Flow(pf.real_nvp(2, depth=2)).double()

    def model(y):
        x = pyro.sample("x", dist.Normal(y.new_zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=y)

    result = pf.infer.importance(model, lambda y: pyro.sample("x", flow()), y, num_samples=8000)
    exact = dist.MultivariateNormal(y.new_zeros(4), torch.eye(4).double() + 2).log_prob(y)
    assert result.draws["x"].dtype == torch.float64
    assert result.log_evidence == pytest.approx(float(exact), abs=0.1)


def test_predictions_come_from_the_model():
    guide = normal_guide(*posterior(Y))
    result = pf.infer.importance(conjugate, guide, Y, num_samples=8000)
    predicted = result.predicted["y"]
    loc, scale = posterior(Y)
    assert predicted.shape == (8000, 4)
    torch.testing.assert_close(predicted.mean(0), torch.full((4,), loc), atol=0.06, rtol=0)
    torch.testing.assert_close(predicted.std(0), torch.full((4,), math.hypot(1, scale)), atol=0.05, rtol=0)
    torch.testing.assert_close(predicted.T.corrcoef()[0, 1], torch.tensor(1 / 6), atol=0.05, rtol=0)


def test_what_cannot_be_weighed_is_refused():
    def halves(y):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y), subsample_size=2) as rows:
            pyro.sample("y", dist.Normal(x, 1.0), obs=y[rows])

    guide = normal_guide(0.0, 1.0)
    with pytest.raises(ValueError, match=r"expected the model over all data.*2 of 4 in plate 'row'"):
        pf.infer.importance(halves, guide, Y)
    with pytest.raises(ValueError, match="expected a guide of every latent variable; got none for x"):
        pf.infer.importance(conjugate, lambda y: None, Y)

    def more(y):
        guide(y)
        pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="of the latent variables only; got also w"):
        pf.infer.importance(conjugate, more, Y)
    with pytest.raises(ValueError, match="num_samples ≥ 1; got 0"):
        pf.infer.importance(conjugate, guide, Y, num_samples=0)
    with pytest.raises(ValueError, match=r"shape \(n,\), n ≥ 1; got \(0,\)"):
        pf.infer.psis(torch.zeros(0))


def test_resampling_is_systematic():
    result = pf.infer.importance(conjugate, normal_guide(0.5, 0.6), Y, num_samples=1000)
    weights = result.smoothed.log_weights.exp()
    counts = torch.bincount(result.resampled_indices(5000), minlength=1000)
    assert ((counts - 5000 * weights).abs() < 1 + 1e-6).all()
    assert result.resample()["x"].shape == (1000,)


def test_nothing_is_left_in_the_parameter_store_or_the_grad_mode():
    pf.infer.importance(conjugate, normal_guide(0.0, 1.0), Y, num_samples=10)
    assert len(pyro.get_param_store()) == 0
    assert torch.is_grad_enabled()


def test_draws_outside_a_bounded_prior_weigh_nothing():
    def model():
        x = pyro.sample("x", dist.Uniform(0.0, 1.0))
        pyro.sample("rate", dist.Exponential(1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.5))

    def guide():
        pyro.sample("x", dist.Normal(0.5, 0.5))
        pyro.sample("rate", dist.Normal(1.0, 1.0))

    result = pf.infer.importance(model, guide, num_samples=20_000)
    normal = dist.Normal(0.5, 1.0)
    exact = math.log(float(normal.cdf(torch.tensor(1.0)) - normal.cdf(torch.tensor(0.0))))
    assert result.log_evidence == pytest.approx(exact, abs=0.1)
    assert "weights are zero" in result.problem
    assert "not finite: x, rate" in result.problem
    drawn = result.resample()
    assert float(drawn["rate"].min()) > 0
    assert 0 < float(drawn["x"].min()) <= float(drawn["x"].max()) < 1
