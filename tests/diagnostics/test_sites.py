"""Sites that are neither latent nor data, summed out, or at which the model fails."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.infer.reparam import AutoReparam, LocScaleReparam, TransformReparam

import pyro_flows as pf
from pyro_flows.infer.model.evaluation import evaluate_at

Y = torch.tensor([1.0, 2.0, 0.0, 1.5])


def centred(y=Y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, 1.0))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def log_scale(y=Y):
    law = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.ExpTransform()])
    theta = pyro.sample("theta", law)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def point(y=Y):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    double = 2 * x
    theta = pyro.sample("theta", dist.Delta(double), obs=double)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


REPARAMETERISED = {
    "LocScaleReparam": (centred, {"theta": LocScaleReparam(0.0)}),
    "partly LocScaleReparam": (centred, {"theta": LocScaleReparam(0.5)}),
    "TransformReparam": (log_scale, {"theta": TransformReparam()}),
    "AutoReparam": (centred, AutoReparam()),
    "Delta": (point, {}),
}


@pytest.fixture(params=REPARAMETERISED)
def reparameterised(request):
    model, config = REPARAMETERISED[request.param]
    return pyro.poutine.reparam(model, config=config)


def test_a_reparameterised_site_is_not_data(reparameterised):
    pytest.importorskip("arviz_base", reason="ArviZ's containers")
    result = pf.infer.importance(reparameterised, AutoNormal(reparameterised), num_samples=100)
    idata = pf.diagnostics.to_arviz(result)
    assert "theta" in result.draws
    assert "theta" in idata["posterior"].data_vars
    for group in ("observed_data", "log_likelihood", "posterior_predictive"):
        assert list(idata[group].data_vars) == ["y"]
    assert pf.diagnostics.loo(result).pointwise.shape == (4,)  # the one observed site, unnamed


def test_calibration_does_not_hand_over_the_truth(reparameterised):
    handed = []

    def posterior(model, data):
        handed.append(set(data))
        return AutoNormal(model)

    pf.diagnostics.calibrate(reparameterised, posterior, num_simulations=2, num_samples=3, progress=False)
    assert handed == [{"y"}] * 2


def test_calibration_of_a_reparameterised_model_finds_what_is_wrong():
    def narrow(model, data):
        return {"mu": 0.01 * torch.randn(49), "theta_decentered": 0.01 * torch.randn(49, 4)}

    model = pyro.poutine.reparam(centred, config={"theta": LocScaleReparam(0.0)})
    found = pf.diagnostics.calibrate(model, narrow, num_simulations=60, num_samples=49, progress=False)
    assert set(found.verdicts().values()) == {"too narrow"}


def mixture(y):
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Bernoulli(p), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(4 * z, 1.0), obs=y)


def test_discrete_sites_that_are_summed_out_have_draws_in_arviz():
    pytest.importorskip("arviz_base", reason="ArviZ's containers")
    y = torch.tensor([0.0, 4.0, 2.0])
    result = pf.infer.importance(mixture, lambda y: pyro.sample("p", dist.Beta(2.0, 2.0)), y)
    idata = pf.diagnostics.to_arviz(result, corrected=True)
    z = idata["posterior"]["z"]
    assert z.dims == ("chain", "draw", "row")
    assert "z" not in idata["log_prior"].data_vars
    share = z.values[0].mean(0)
    assert share[0] < 0.02
    assert share[1] > 0.98
    assert share[2] == pytest.approx(0.5, abs=0.05)  # halfway between the two
    total = idata["log_prior"]["p"] + idata["log_likelihood"]["y"].sum("row")
    assert abs(total - idata["sample_stats"]["lp"]).max() < 1e-4


def test_calibration_ranks_discrete_sites():
    """The guide is the prior, and corrected draws are ranked: exact but for the number of draws."""

    def model():
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
        with pyro.plate("row", 2):
            z = pyro.sample("z", dist.Bernoulli(p), infer={"enumerate": "parallel"})
            pyro.sample("y", dist.Normal(2 * z, 1.0), obs=torch.zeros(2))

    def posterior(given, data):
        return pf.infer.importance(given, lambda: pyro.sample("p", dist.Beta(2.0, 2.0)), num_samples=200)

    found = pf.diagnostics.calibrate(model, posterior, num_simulations=15, num_samples=49, progress=False)
    assert found.verdicts() == dict.fromkeys(["p", "z[0]", "z[1]"], "calibrated")


def test_the_report_names_draws_at_which_the_model_raised():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.deterministic("double", 2 * x)  # NaN where the model raises
        if bool((x > 2.5).any()):
            raise ValueError("x is too large")
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))

    def guide():
        pyro.sample("x", dist.Normal(0.0, 0.8))

    with pytest.warns(UserWarning, match="the model raised at"):
        result = pf.infer.importance(model, guide, num_samples=1000)
    beyond = int((result.draws["x"] > 2.5).sum())
    assert beyond > 0
    report = pf.diagnostics.report(result)
    assert report.reasons[-1].startswith(f"the model raised at {beyond} of 1,000 draws")
    assert "nan" not in str(report)
    assert report.reasons[-1].endswith("'double': x is too large")
    assert math.isfinite(result.log_evidence)


def test_the_report_of_a_result_at_whose_first_draw_the_model_raised():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        if bool((x > 1.5).any()):
            raise ValueError("x is too large")
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))

    pyro.set_rng_seed(0)
    x = 0.8 * torch.randn(1000)
    x[0] = 2.0
    with pytest.warns(UserWarning, match="the model raised at"):
        evaluation = evaluate_at(model, {"x": x}, dist.Normal(0.0, 0.8).log_prob(x).double())
    assert bool(evaluation.raised[0])
    report = pf.diagnostics.report(pf.infer.Importance(evaluation, model))
    assert "the model raised at" in report.reasons[-1]
