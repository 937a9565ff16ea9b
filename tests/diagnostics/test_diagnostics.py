"""Guides and flows in ArviZ, both containers; cross-validation against closed forms; verdicts in words."""

import math
import sys
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf
from pyro_flows.diagnostics.report import _broader as broader

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
except ImportError:
    arviz = pytest.importorskip("arviz_base", reason="the containers are ArviZ's")

OLD = hasattr(arviz, "InferenceData")
Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@pytest.fixture(params=["InferenceData", "DataTree"])
def container(request, monkeypatch):
    """Run with ArviZ 0.x and with what 1.0 reads, as far as they are installed."""
    if request.param == "InferenceData":
        if not OLD:
            pytest.skip("ArviZ 1.0 or later is installed: no InferenceData")
        return arviz.InferenceData
    pytest.importorskip("arviz_base", reason="what reads a DataTree")
    if OLD:
        monkeypatch.setitem(sys.modules, "arviz", None)
    return pytest.importorskip("xarray").DataTree


def schools(y, sigma, scale=5.0):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(scale))
    with pyro.plate("school", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.deterministic("effect", theta - mu)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def fit(model, guide, *args, steps=200, lr=0.05):
    pyro.clear_param_store()
    svi = SVI(
        model, guide, pyro.optim.Adam({"lr": lr}), Trace_ELBO(num_particles=8, vectorize_particles=True)
    )
    for _ in range(steps):
        svi.step(*args)
    return guide


def dims(group):
    return {name: tuple(variable.dims) for name, variable in group.data_vars.items()}


SAMPLE = ("chain", "draw")


def test_every_group_with_plates_as_dimensions(container):
    names = list("ABCDEFGH")
    guides = [AutoNormal(schools), AutoMultivariateNormal(schools)]
    idata = pf.diagnostics.to_arviz(guides, schools, Y, SIGMA, num_samples=60, coords={"school": names})
    assert isinstance(idata, container)
    per_school = (*SAMPLE, "school")
    assert dims(idata["posterior"]) == {
        "mu": SAMPLE,
        "tau": SAMPLE,
        "theta": per_school,
        "effect": per_school,
    }
    assert dims(idata["posterior_predictive"]) == dims(idata["log_likelihood"]) == {"y": per_school}
    assert dims(idata["log_prior"]) == {"mu": SAMPLE, "tau": SAMPLE, "theta": per_school}
    assert dims(idata["sample_stats"]) == dict.fromkeys(["lp", "log_q", "log_weight"], SAMPLE)
    assert dims(idata["observed_data"]) == {"y": ("school",)}
    assert dims(idata["constant_data"]) == {"sigma": ("school",)}
    assert idata["posterior"]["theta"].shape == (2, 60, 8)
    assert list(idata["posterior"]["school"].values) == names
    assert idata["observed_data"]["y"].sel(school="C") == -3
    stats = idata["sample_stats"]
    assert abs(stats["lp"] - stats["log_q"] - stats["log_weight"]).max() < 1e-5
    total = sum(
        idata["log_prior"].data_vars[name].sum(set(d) - {*SAMPLE})
        for name, d in dims(idata["log_prior"]).items()
    )
    total = total + idata["log_likelihood"]["y"].sum("school")
    assert abs(total - stats["lp"]).max() < 1e-3
    theta, mu = (idata["posterior"][name] for name in ("theta", "mu"))
    assert abs(idata["posterior"]["effect"] - (theta - mu)).max() < 1e-4
    assert [len(idata.attrs[name]) for name in ("khat", "log_evidence", "elbo", "ess")] == [2] * 4


def test_arviz_summarises_and_compares_chains(container):
    guides = [fit(schools, AutoNormal(schools), Y, SIGMA) for _ in range(2)]
    idata = pf.diagnostics.to_arviz(guides, schools, Y, SIGMA, num_samples=400)
    if container.__name__ == "InferenceData":
        r_hat, loo = arviz.rhat(idata), arviz.loo
    else:
        stats = pytest.importorskip("arviz_stats")
        r_hat, loo = stats.rhat(idata["posterior"]), stats.loo
    assert float(r_hat["mu"]) < 1.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isfinite(float(getattr(loo(idata), "elpd_loo", None) or loo(idata).elpd))


def test_corrected_draws_have_no_weights_left(container):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    def guide():
        pyro.sample("x", dist.Normal(0.0, 1.0))

    idata = pf.diagnostics.to_arviz(guide, model, num_samples=5000, corrected=True)
    assert set(idata["sample_stats"].data_vars) == {"lp", "log_q"}
    x = idata["posterior"]["x"]
    assert float(x.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(x.std()) == pytest.approx(0.5**0.5, abs=0.03)
    assert abs(idata["log_prior"]["x"] + x**2 / 2 + math.log(2 * math.pi) / 2).max() < 1e-5


def test_event_dimensions_and_plates_that_are_not_a_sites_own(container):
    def model(y, flag, *, offset):
        with pyro.plate("group", 3, dim=-2):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("row", 5, dim=-1):
                loc = a.sum(-1, keepdim=True) + offset
                pyro.sample("y", dist.Normal(loc, torch.ones(4)).to_event(1), obs=y)
        pyro.factor("soft", -0.1 * a.square().sum((-1, -2, -3)))

    y = torch.randn(3, 5, 4)
    with pytest.warns(UserWarning, match="running each draw alone"):  # the factor sums over everything
        idata = pf.diagnostics.to_arviz(AutoNormal(model), model, y, True, num_samples=7, offset=0.5)
    assert dims(idata["posterior"]) == {"a": (*SAMPLE, "group", "a_dim_1")}
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "group", "row", "y_dim_2")}
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "group", "row"), "soft": SAMPLE}
    assert dims(idata["observed_data"]) == {"y": ("group", "row", "y_dim_2")}
    assert float(idata["constant_data"]["offset"]) == 0.5
    assert set(idata["constant_data"].data_vars) == {"offset"}


def test_density_flows(container):
    flows = [pf.Flow(pf.real_nvp(2)), pf.Flow(pf.real_nvp(2))]
    data = torch.randn(6, 2)
    idata = pf.diagnostics.density_to_arviz(flows, data, coords={"row": range(10, 16)}, num_samples=9)
    assert isinstance(idata, container)
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "row")}
    assert idata["log_likelihood"]["y"].shape == (2, 1, 6)
    expected = flows[1]().log_prob(data).detach()
    torch.testing.assert_close(torch.tensor(idata["log_likelihood"]["y"].values[1, 0]), expected)
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "y_dim_0")}
    assert list(idata["observed_data"]["row"].values) == list(range(10, 16))
    conditional = pf.Flow(pf.real_nvp(2, context_dim=3))
    idata = pf.diagnostics.density_to_arviz(conditional, data.numpy(), torch.randn(6, 3), num_samples=9)
    assert idata["posterior_predictive"]["y"].shape == (1, 9, 6, 2)
    assert dims(idata["constant_data"]) == {"context": ("row", "context_dim_0")}


def test_saves_and_loads(container, tmp_path):
    pytest.importorskip("h5py", reason="what ArviZ writes with")
    idata = pf.diagnostics.to_arviz(AutoNormal(schools), schools, Y, SIGMA, num_samples=5)
    idata.to_netcdf(tmp_path / "draws.nc")
    with pytest.importorskip("xarray").open_dataset(tmp_path / "draws.nc", group="posterior") as posterior:
        for name in idata["posterior"].data_vars:
            np.testing.assert_array_equal(posterior[name].values, idata["posterior"][name].values)


def test_labels_of_dimensions_that_are_not_there(container):
    with pytest.raises(ValueError, match=r"expected coords of \[.*'school'\]; got \['schol'\]"):
        pf.diagnostics.to_arviz(AutoNormal(schools), schools, Y, SIGMA, num_samples=5, coords={"schol": "AB"})


def test_without_arviz(monkeypatch):
    for name in ("arviz", "arviz_base"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'pyro-flows\[arviz\]'"):
        pf.diagnostics.density_to_arviz(pf.Flow(pf.real_nvp(2)), torch.randn(5, 2))


# --- cross-validation ---


def location(y):
    x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=y.dtype), 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def exact_loo(y):
    """Given n − 1 observations, x ~ N(Σ / n, 1 / n), and the next is N(Σ / n, 1 + 1 / n)."""
    n = len(y)
    rest = (y.sum() - y) / n
    return dist.Normal(rest, math.sqrt(1 + 1 / n)).log_prob(y)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_loo_of_a_conjugate_model_whatever_the_guide(shift):
    y = torch.randn(12, dtype=torch.double)
    scale = 1 / math.sqrt(len(y) + 1)

    def guide(y):
        pyro.sample("x", dist.Normal(y.sum() / (len(y) + 1) + shift * scale, 1.2 * scale))

    result = pf.infer.importance(location, guide, y, num_samples=40_000)
    found = pf.diagnostics.loo(result)
    torch.testing.assert_close(found.pointwise, exact_loo(y), atol=0.01, rtol=0)
    assert found.elpd == pytest.approx(float(exact_loo(y).sum()), abs=0.03)
    assert found.unreliable == 0
    posterior = dist.Normal(y.sum() / 13, math.sqrt(1 + 1 / 13))
    assert found.p_loo == pytest.approx(float((posterior.log_prob(y) - exact_loo(y)).sum()), abs=0.05)
    assert str(found).startswith(f"elpd {found.elpd:.1f} ± {found.se:.1f} nats")


def test_loo_agrees_with_arvizs_correction():
    stats = pytest.importorskip("arviz_stats", reason="the reference")
    base = pytest.importorskip("arviz_base")
    y = torch.randn(12, dtype=torch.double)

    def guide(y):
        pyro.sample("x", dist.Normal(y.sum() / 13 + 0.1, 0.3))

    result = pf.infer.importance(location, guide, y, num_samples=4000)
    log_lik = result.evaluation.log_likelihood["y"]
    groups = {
        "log_likelihood": {"y": log_lik[None].numpy()},
        "posterior": {"x": result.draws["x"][None].numpy()},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = stats.loo_approximate_posterior(
            base.from_dict(groups),
            result.evaluation.log_p.numpy(),
            result.evaluation.log_q.numpy(),
            pointwise=True,
        )
    ours = pf.diagnostics.loo(result)
    assert ours.elpd == pytest.approx(float(theirs.elpd), abs=0.02)
    assert ours.se == pytest.approx(float(theirs.se), rel=0.1)


def test_loo_refuses_what_it_cannot_do():
    y = torch.randn(4)
    result = pf.infer.importance(location, lambda y: pyro.sample("x", dist.Normal(0.0, 1.0)), y)
    with pytest.raises(ValueError, match=r"expected an observed site of \['y'\]; got 'z'"):
        pf.diagnostics.loo(result, "z")

    def joint():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x.unsqueeze(-1), torch.ones(3)).to_event(1), obs=torch.zeros(3))

    result = pf.infer.importance(joint, lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match="expected observations in a plate"):
        pf.diagnostics.loo(result)


def test_loo_refuses_weights_that_are_not_finite():
    y = torch.randn(4)
    result = pf.infer.importance(location, lambda y: pyro.sample("x", dist.Normal(math.inf, 1.0)), y)
    with pytest.raises(ValueError, match="expected usable importance weights; got none: 4000 of 4000"):
        pf.diagnostics.loo(result)


def test_loo_tells_of_observations_that_it_cannot_leave_out():
    y = torch.tensor([0.0, 0.1, -0.1, 30.0])
    result = pf.infer.importance(location, lambda y: pyro.sample("x", dist.Normal(y.sum() / 5, 0.45)), y)
    found = pf.diagnostics.loo(result)
    assert found.unreliable >= 1
    assert "do not trust it" in str(found)


# --- verdicts ---


def wide(y):
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=y)


COVARIANCE = torch.eye(2) - torch.ones(2, 2) / 3
MEAN = torch.full((2,), 1 / 3)


@pytest.mark.parametrize(
    ("guide", "verdict", "words"),
    [
        (lambda y: dist.MultivariateNormal(MEAN, COVARIANCE), "good", "constant"),
        (lambda y: dist.MultivariateNormal(MEAN, 1.05 * COVARIANCE), "good", "k̂ = "),
        (
            lambda y: dist.MultivariateNormal(MEAN, 2.0 * COVARIANCE),
            "usable after importance correction",
            "enough",
        ),
        (
            lambda y: dist.MultivariateNormal(MEAN + 0.5, COVARIANCE),
            "usable after importance correction",
            "moves a mean",
        ),
        (lambda y: dist.MultivariateNormal(MEAN, 0.05 * COVARIANCE), "do not trust", "k̂ ≥ 0.75"),
        (lambda y: dist.MultivariateNormal(MEAN + 9.0, COVARIANCE), "do not trust", "too uneven"),
    ],
)
def test_verdicts_with_reasons(guide, verdict, words, capsys):
    report = pf.diagnostics.report(wide, lambda y: pyro.sample("x", guide(y)), torch.tensor(1.0))
    assert report.verdict == verdict
    assert words in " ".join(report.reasons)
    assert capsys.readouterr().out == f"{report}\n"
    assert str(report).startswith(f"Verdict: {verdict}\n  - ")


def heavier(share, scale):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
        parts = dist.Normal(0.0, torch.tensor([1.0, scale])).log_prob(x[..., None])
        pyro.factor("tails", (parts + torch.tensor([1 - share, share]).log()).logsumexp(-1))

    return model


def test_a_high_khat_beside_a_small_gap_is_told():
    found = pf.diagnostics.report(heavier(0.01, 3.0), lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
    assert found.verdict == "good"
    assert found.reasons[-1] == f"k̂ = {found.results[0].khat:.2f}, which so small a gap outweighs"


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_missed_tails_show_when_draws_are_spread(share):
    """The weights themselves hardly differ: the gap is below 0.003 nats."""
    found = pf.diagnostics.report(heavier(share, 5.0), lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
    assert found.results[0].gap < 0.003
    assert found.verdict == "do not trust"
    assert "times their width find a standard deviation" in found.reasons[0]
    wanted = (1 - share + share * 25) ** 0.5
    seen = pf.infer.widen(found.results[0], heavier(share, 5.0), factor=4.0)
    assert seen.spread.item() == pytest.approx(wanted, abs=4 * seen.spread_error.item())


def test_the_surest_coordinate_counts_and_not_the_largest():
    def widened(spread, error, weights=None):
        weights = pf.infer.psis(torch.zeros(100) if weights is None else weights)
        return pf.infer.Widened(weights, torch.tensor(spread), torch.tensor(error))

    assert broader(widened([1.2, 2.0], [0.01, 0.5])) == "1.20 ± 0.01"
    assert broader(widened([1.04, 2.0], [0.001, 0.5])) is None
    few = torch.full((100,), -10.0)
    few[:5] = 0.0
    assert broader(widened([1.2, 2.0], [0.01, 0.5], few)) is None  # five draws tell no spread


def two_modes():
    x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
    parts = dist.Normal(torch.tensor([-5.0, 5.0]), 1.0).log_prob(x[..., None])
    pyro.factor("modes", (parts + torch.tensor([0.7, 0.3]).log()).logsumexp(-1))


def mode(at):
    return lambda: pyro.sample("x", dist.Normal(at, 1.0))


def test_a_missed_mode_shows_when_draws_are_spread_and_in_independent_fits(capsys):
    weighed = pf.infer.importance(two_modes, mode(-5.0))
    assert pf.diagnostics.judge([weighed]).verdict == "good"  # weights cannot see it
    alone = pf.diagnostics.report(two_modes, mode(-5.0))
    assert alone.verdict == "do not trust"
    assert "misses a part of the posterior" in alone.reasons[0]
    # With 0.7 of the mass in reach, the rest is log(1 / 0.7) = 0.36 nats; in double the width it is found.
    found = pf.infer.widen(weighed, two_modes, factor=8.0).smoothed
    assert found.log_mean - weighed.log_evidence == pytest.approx(math.log(1 / 0.7), abs=0.15)
    both = pf.diagnostics.report(two_modes, [mode(-5.0), mode(5.0)])
    assert both.verdict == "do not trust"
    assert "disagree on the log evidence" in both.reasons[0]
    same = pf.diagnostics.judge([weighed, weighed])
    assert same.verdict == "good"
    assert same.reasons[0] == "the log evidences of 2 fits agree"
    assert same.reasons[1].startswith("fit 1 (good): ")
    capsys.readouterr()


def test_weights_that_are_not_finite_are_not_trusted(capsys):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("broken", x * math.nan)

    def outside():
        pyro.sample("x", dist.Uniform(2.0, 3.0))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    report = pf.diagnostics.report(model, mode(0.0))
    assert report.verdict == "do not trust"
    assert "NaN" in report.reasons[0]
    assert "broken" in report.reasons[0]
    report = pf.diagnostics.report(outside, mode(-5.0))
    assert report.verdict == "do not trust"
    assert "all 4000 weights are zero" in report.reasons[0]
    capsys.readouterr()


def test_too_few_draws_are_not_judged():
    with pytest.raises(ValueError, match="expected ≥ 100 draws to judge by; got 1"):
        pf.diagnostics.report(two_modes, mode(-5.0), num_samples=1)
    with pytest.raises(ValueError, match="expected ≥ 100 draws to judge by; got 50"):
        pf.diagnostics.judge([pf.infer.importance(two_modes, mode(-5.0), num_samples=50)])
    with pytest.raises(ValueError, match="got none"):
        pf.diagnostics.judge([])
