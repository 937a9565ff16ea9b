"""Verdicts in words."""

import math
import re
import warnings
from dataclasses import fields, replace

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.diagnostics.missed import _broader as broader
from pyro_flows.infer.weights.spread import SpreadOut, spread_out
from pyro_flows.transforms import DiagonalScaling


def verdict(model, guide, *args, **kwargs):
    return pf.diagnostics.report(pf.infer.importance(model, guide, *args, **kwargs))


def wide(y):
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=y)


COVARIANCE = torch.eye(2) - torch.ones(2, 2) / 3
MEAN = torch.full((2,), 1 / 3)


@pytest.mark.parametrize(
    ("guide", "word", "words", "call"),
    [
        (lambda y: dist.MultivariateNormal(MEAN, COVARIANCE), "good", "constant", None),
        (lambda y: dist.MultivariateNormal(MEAN, 1.05 * COVARIANCE), "good", "k̂ = ", None),
        (
            lambda y: dist.MultivariateNormal(MEAN, 2.0 * COVARIANCE),
            "usable after importance correction",
            "enough",
            "resample(1000)",
        ),
        (
            lambda y: dist.MultivariateNormal(MEAN + 0.5, COVARIANCE),
            "usable after importance correction",
            "moves a mean",
            "resample(1000)",
        ),
        (
            lambda y: dist.MultivariateNormal(MEAN, 0.05 * COVARIANCE),
            "do not trust",
            "k̂ ≥ 0.75",
            "guide = AutoFlow(model)",
        ),
        (
            lambda y: dist.MultivariateNormal(MEAN + 9.0, COVARIANCE),
            "do not trust",
            "too uneven",
            "guide = AutoFlow(model)",
        ),
    ],
)
def test_verdicts_with_reasons(guide, word, words, call, capsys):
    report = verdict(wide, lambda y: pyro.sample("x", guide(y)), torch.tensor(1.0))
    assert report.verdict == word
    assert words in " ".join(report.reasons)
    assert str(report).startswith(f"Verdict: {word}\n  - ")
    assert capsys.readouterr().out == ""
    if call is None:
        assert report.advice is None
        assert "Next:" not in str(report)
    else:
        assert call in report.advice
        assert str(report).endswith(f"\nNext: {report.advice}")


def flow_guide(model, *args, loc=0.0, scale=1.0):
    """A Gaussian guide, as a flow, at a place of our choice."""
    guide = pf.infer.AutoFlow(model, lambda dim: DiagonalScaling(dim))
    guide.setup(*args)
    dim = len(guide.whitening.loc)
    guide.whitening.place(torch.as_tensor(loc).expand(dim), scale * torch.eye(dim))
    guide.initialised.fill_(True)
    return guide


def normal(dim):
    return lambda: pyro.sample("x", dist.Normal(torch.zeros(dim), 1.0).to_event(1))


FIT = "fit_vi(model, guide, ...)"
TRAIN = "fit_vi(model, guide, ..., steps=8000)"
CHAINS = "flow_mcmc(model, guide, ...)"
OFF = {"narrow": (0.0, 0.3), "far too wide": (0.0, 2.0), "wide": (0.0, 1.8), "off": (0.15, 1.1)}


@pytest.mark.parametrize(
    ("case", "word", "calls"),
    [
        ("narrow", "do not trust", [TRAIN, CHAINS]),
        ("far too wide", "do not trust", [CHAINS, TRAIN]),
        ("wide", "usable after importance correction", ["result.resample(1000)", CHAINS]),
        ("off", "usable after importance correction", ["result.resample(1000)", TRAIN]),
        ("missed mode", "do not trust", ["AutoMixture([AutoFlow(model) for _ in range(8)])", FIT]),
        ("missed member", "do not trust", ["AutoMixture([AutoFlow(model) for _ in range(4)])", FIT]),
        ("missed tail", "do not trust", [CHAINS]),
    ],
)
def test_the_advice_follows_what_the_weights_show(case, word, calls):
    if case == "missed mode":
        model = two_modes()
        guide = flow_guide(model, loc=-5.0)
    elif case == "missed member":
        model = two_modes()
        guide = pf.infer.AutoMixture([flow_guide(model, loc=at) for at in (-5.1, -4.9)])
    elif case == "missed tail":
        model = heavier(0.03, 5.0)
        guide = flow_guide(model)
    else:
        model = normal(3 if case == "wide" else 6)
        guide = flow_guide(model, loc=OFF[case][0], scale=OFF[case][1])
    report = verdict(model, guide)
    assert report.verdict == word
    places = [report.advice.index(call) for call in calls]
    assert places == sorted(places)
    assert ("flow_mcmc" in report.advice) == (CHAINS in calls)


def test_fits_that_disagree_are_to_become_a_mixture():
    model = two_modes()
    results = [pf.infer.importance(model, flow_guide(model, loc=at)) for at in (-5.0, 5.0)]
    found = pf.diagnostics.report(results)
    assert "disagree on the log evidence" in found.reasons[0]
    assert "AutoMixture([AutoFlow(model) for _ in range(8)])" in found.advice
    by_hand = [pf.infer.importance(model, mode(at)) for at in (-5.0, 5.0)]
    assert "a flow in place of this guide" in pf.diagnostics.report(by_hand).advice


def test_the_calls_that_it_names_mend_the_fit():
    model = two_modes()
    guide = pf.infer.AutoMixture([flow_guide(model, loc=at) for at in (-5.0, 5.0, 5.1)])
    guide.weigh(model)
    assert verdict(model, guide).verdict == "good"
    narrow = flow_guide(normal(6), scale=0.3)
    options = {"num_samples": 40, "num_chains": 64, "warmup_steps": 40, "thinning": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains have not mixed")  # R̂ asks for many draws of each
        chains = pf.infer.flow_mcmc(normal(6), narrow, **options)
    assert chains.samples["x"].std((0, 1)) == pytest.approx(torch.ones(6), abs=0.06)
    assert {"steps"} <= {field.name for field in fields(pf.infer.VISettings)}


def located(at, scale, dtype=torch.float32):
    """Observations around a number: the posterior is N(`at`, `scale`²) but for a vague prior."""
    y = torch.tensor([at - scale, at + scale], dtype=dtype)

    def model():
        x = pyro.sample("x", dist.Normal(torch.tensor(at, dtype=dtype), 1e4 * scale))
        with pyro.plate("row", 2):
            pyro.sample("y", dist.Normal(x, scale * 2**0.5), obs=y)

    return model


@pytest.mark.parametrize("case", ["seconds", "a point", "double", "resolved"])
def test_a_dtype_that_hardly_tells_draws_apart(case):
    """At 1.6e9 numbers of single precision lie 128 apart: rounding is the better part of the spread."""
    dtype = torch.float64 if case == "double" else torch.float32
    at, scale = {"resolved": (2020.0, 0.01), "a point": (0.0, 1.0)}.get(case, (1.6e9, 100.0))
    model = located(at, scale, dtype)
    guide = flow_guide(model, loc=at, scale=scale)
    if case == "a point":
        guide = pyro.infer.autoguide.AutoDelta(model)
    found = verdict(model, guide)
    if case in ("double", "resolved"):
        assert found.verdict == "good"
        return
    assert found.verdict == "do not trust"
    if case == "a point":
        assert found.reasons[0].startswith("the guide's standard deviation of x is 0 at ")
        assert "a flow in place of AutoDelta" in found.advice
    else:
        assert re.match(
            r"the guide's standard deviation of x is \d+ at 1\.6e\+09, where .* float32 lie 128 apart",
            found.reasons[0],
        )
        assert "torch.float64" in found.advice
        assert "subtract a constant" in found.advice
        assert "steps=" not in found.advice


def test_constant_elements_of_a_support_are_not_taken_for_lack_of_precision():
    def model():
        pyro.sample("p", dist.Dirichlet(torch.ones(1)))
        pyro.sample("corr", dist.LKJCholesky(3, 1.0))
        pyro.sample("x", dist.Normal(0.0, 1.0))

    assert verdict(model, model).verdict == "good"


def test_a_flat_prior_that_nothing_bounds():
    """All successes: the likelihood of a logit tends to one."""

    def model():
        x = pyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
        with pyro.plate("row", 5):
            pyro.sample("y", dist.Bernoulli(logits=x), obs=torch.ones(5))

    found = verdict(model, flow_guide(model, loc=2.0))
    assert found.verdict == "do not trust"
    assert found.reasons[-1] == "the prior of x is flat: unless the data bound it, there is no posterior"
    assert found.advice.startswith("a proper prior of x; or ")


def heavier(share, scale):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
        parts = dist.Normal(0.0, torch.tensor([1.0, scale])).log_prob(x[..., None])
        pyro.factor("tails", (parts + torch.tensor([1 - share, share]).log()).logsumexp(-1))

    return model


def test_a_high_khat_beside_a_small_gap_is_told():
    weights = 1 + 0.001 * torch.rand(4000, dtype=torch.double) ** -0.9  # their variance is infinite
    x = {"x": torch.randn(4000)}
    evaluation = pf.infer.Evaluation(
        x, {}, {"x": weights.log()}, {}, torch.zeros(4000, dtype=torch.double), {}, {}, {}
    )
    found = pf.diagnostics.report(pf.infer.Importance(evaluation))
    assert found.results[0].khat > 0.7
    assert found.verdict == "good"
    assert found.reasons[-1] == f"k̂ = {found.results[0].khat:.2f}, which so small a gap outweighs"


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_missed_tails_show_when_draws_are_spread(share):
    """The weights themselves hardly differ: the gap is below 0.003 nats."""
    found = verdict(heavier(share, 5.0), mode(0.0))
    assert found.results[0].gap < 0.003
    assert found.verdict == "do not trust"
    assert "times their width find a standard deviation" in found.reasons[0]
    wanted = (1 - share + share * 25) ** 0.5
    (seen,) = spread_out(found.results[0], [4.0])
    assert seen.ratio.item() == pytest.approx(wanted, abs=4 * seen.ratio_error.item())


def test_the_surest_coordinate_counts_and_not_the_largest():
    def spread(ratio, error, weights=None):
        weights = pf.infer.psis(torch.zeros(100) if weights is None else weights)
        return SpreadOut(2.0, weights, torch.tensor(ratio), torch.tensor(error))

    assert broader(spread([1.2, 2.0], [0.01, 0.5])) == "1.20 ± 0.01"
    assert broader(spread([1.04, 2.0], [0.001, 0.5])) is None
    few = torch.full((100,), -10.0)
    few[:5] = 0.0
    assert broader(spread([1.2, 2.0], [0.01, 0.5], few)) is None  # five draws tell no spread


def two_modes(weight=0.7):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
        parts = dist.Normal(torch.tensor([-5.0, 5.0]), 1.0).log_prob(x[..., None])
        pyro.factor("modes", (parts + torch.tensor([weight, 1 - weight]).log()).logsumexp(-1))

    return model


def mode(at, scale=1.0):
    return lambda *_: pyro.sample("x", dist.Normal(at, scale))


def test_a_missed_mode_shows_when_draws_are_spread_and_in_independent_fits():
    weighed = pf.infer.importance(two_modes(), mode(-5.0))
    alone = pf.diagnostics.report(weighed)
    assert alone.verdict == "do not trust"
    assert "misses a part of the posterior" in alone.reasons[0]
    # With 0.7 of the mass in reach, the rest is log(1 / 0.7) = 0.36 nats; in double the width it is found.
    (found,) = spread_out(weighed, [8.0])
    assert found.smoothed.log_mean - weighed.log_evidence == pytest.approx(math.log(1 / 0.7), abs=0.15)
    both = pf.diagnostics.report([weighed, pf.infer.importance(two_modes(), mode(5.0))])
    assert both.verdict == "do not trust"
    assert "disagree on the log evidence" in both.reasons[0]


def without_model(result):
    """The same draws, which then cannot be spread out."""
    return pf.infer.Importance(replace(result.evaluation, runs=None))


def test_fits_that_agree():
    weighed = without_model(pf.infer.importance(two_modes(), mode(-5.0)))
    same = pf.diagnostics.report([weighed, weighed])
    assert same.verdict == "good"  # nothing else can tell that both miss a mode
    assert same.reasons[0] == "the log evidences and means of 2 fits agree"
    assert same.reasons[1].startswith("fit 1 (good): ")


def exact_in(modes, found_by, dims=3):
    """Fits that are each exact in one of several modes of equal evidence, as far as weights can see."""
    scale = 0.1

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(dims), 1.0).to_event(1).mask(False))
        parts = dist.Normal(torch.stack(modes), scale).to_event(1).log_prob(x.unsqueeze(-2))
        pyro.factor("modes", parts.logsumexp(-1))

    results = []
    for i in found_by:
        guide = lambda at=modes[i]: pyro.sample("x", dist.Normal(at, scale).to_event(1))  # noqa: E731
        results.append(pf.infer.importance(model, guide))
    return results


@pytest.mark.parametrize("kind", ["sign of a factor", "labels of a mixture"])
def test_three_fits_in_equal_modes_are_not_trusted(kind):
    if kind == "sign of a factor":
        at = torch.tensor([1.0, -0.5, 0.8])
        modes, found_by = [at, -at], [0, 1, 0]
    else:
        modes, found_by = [torch.tensor([-1.0, 0.0, 1.0]).roll(k) for k in range(3)], [0, 1, 2]
    results = exact_in(modes, found_by)
    assert [pf.diagnostics.report(without_model(one)).verdict for one in results] == ["good"] * 3
    evidences = [one.log_evidence for one in results]
    assert max(evidences) - min(evidences) < 0.05
    found = pf.diagnostics.report(results)
    assert found.verdict == "do not trust"
    assert found.reasons[0].startswith("the means of x[")
    apart, r_hat = re.search(r"lie (\S+) standard deviations apart \(R̂ (\S+)\)", found.reasons[0]).groups()
    largest = max(float((a - b).abs().max()) for a in modes for b in modes) / 0.1
    assert float(apart) == pytest.approx(largest, rel=0.05)
    assert float(r_hat) > 5
    assert "AutoMixture(" in found.advice
    assert "or single out one mode" in found.advice


def test_fits_of_one_mode_agree_in_many_dimensions():
    def model():
        pyro.sample("x", dist.StudentT(torch.tensor(5.0), torch.zeros(100), 1.0).to_event(1))

    def guide():
        pyro.sample("x", dist.StudentT(torch.tensor(5.0), torch.zeros(100), 1.01).to_event(1))

    fits = [pf.infer.importance(model, guide, num_samples=1000) for _ in range(4)]
    assert "agree" in pf.diagnostics.report(fits).reasons[0]


def test_means_of_usable_fits_are_compared_after_correction():
    """Two guides that err to either side: their own means differ by one standard deviation."""
    fits = [pf.infer.importance(wide, off(by), torch.tensor(1.0)) for by in (-0.4, 0.4)]
    found = pf.diagnostics.report(fits)
    assert found.verdict == "usable after importance correction"
    assert "agree" in found.reasons[0]


def off(by):
    return lambda y: pyro.sample("x", dist.MultivariateNormal(MEAN + by, 1.5 * COVARIANCE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_constant_up_to_rounding_does_not_count(dtype):
    """A near-exact guide is good, whatever the model computes that should be constant."""

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(4, dtype=dtype), 1.0).to_event(1))
        p = x.softmax(-1)
        pyro.deterministic("one", p.sum(-1))
        pyro.deterministic("zero", (x - x.mean(-1, keepdim=True)).sum(-1))
        pyro.deterministic("large", 1e6 + p.sum(-1) / 3)
        pyro.deterministic("exactly", torch.ones(()))

    def guide():
        scale = torch.full((4,), 1.02, dtype=dtype)
        pyro.sample("x", dist.Normal(torch.zeros(4, dtype=dtype), scale).to_event(1))

    for seed in range(5):
        pyro.set_rng_seed(seed)
        assert verdict(model, guide).verdict == "good"


def test_the_corner_of_an_lkj_factor_does_not_count():
    def model():
        pyro.sample("L", dist.LKJCholesky(3, 2.0))

    for seed in range(5):
        pyro.set_rng_seed(seed)
        assert verdict(model, lambda: pyro.sample("L", dist.LKJCholesky(3, 2.02))).verdict == "good"


def test_what_varies_little_on_a_large_offset_does_count():
    def model():
        year = pyro.sample("year", dist.Normal(2000.0, 0.01))
        pyro.deterministic("rate", 1e-4 * (year - 2000))

    found = verdict(model, lambda: pyro.sample("year", dist.Normal(2000.005, 0.01)))
    assert found.verdict != "good"
    assert "moves a mean by 0.49" in " ".join(found.reasons)


def test_weights_that_are_not_finite_are_not_trusted():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("broken", x * math.nan)

    def outside():
        pyro.sample("x", dist.Uniform(2.0, 3.0))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    report = verdict(model, mode(0.0))
    assert report.verdict == "do not trust"
    assert "NaN" in report.reasons[0]
    assert "broken" in report.reasons[0]
    report = verdict(outside, mode(-5.0))
    assert report.verdict == "do not trust"
    assert "all 4000 weights are zero" in report.reasons[0]


def test_too_few_draws_are_not_judged():
    with pytest.raises(ValueError, match="expected ≥ 100 draws to judge by; got 50"):
        verdict(two_modes(), mode(-5.0), num_samples=50)
    with pytest.raises(ValueError, match="got none"):
        pf.diagnostics.report([])
    with pytest.raises(TypeError, match="got function"):
        pf.diagnostics.report(two_modes())
