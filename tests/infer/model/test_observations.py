"""Observations that no model can have are named before anything is fitted."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_flows as pf
from pyro_flows.infer import AutoFlow


def given(draw, y, mask=True):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)), poutine.mask(mask=mask):
            pyro.sample("y", draw(x), obs=y)

    return model


REFUSED = {
    "NaN": (
        lambda x: dist.Normal(x, 1.0),
        [0.0, math.nan, 1.0],
        r"finite observations.*got 1 of 3 .*'y'.*\[1\]",
    ),
    "infinite": (lambda x: dist.Normal(x, 1.0), [0.0, 1.0, math.inf], r"finite observations.*'y'.*\[2\]"),
    "negative counts": (
        lambda x: dist.Poisson(x.exp()),
        [2.0, -2.0, -1.0],
        r"support.*got 2 of 3 .*'y'.*\[1\].*Poisson",
    ),
    "neither zero nor one": (
        lambda x: dist.Bernoulli(logits=x),
        [0.0, 0.5],
        r"support.*got 1 of 2 .*Bernoulli",
    ),
    "too many": (lambda x: dist.Binomial(5, logits=x), [1.0, 6.0], r"support.*got 1 of 2 .*Binomial"),
    "NaN in a mixture": (
        lambda x: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), dist.Normal(torch.stack([x, -x], -1), 1.0)
        ),
        [math.nan, 1.0],
        r"finite observations.*got 1 of 2",
    ),
}


@pytest.mark.parametrize(("draw", "y", "words"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_density_is_named(draw, y, words):
    model = given(draw, torch.tensor(y))
    guide = AutoFlow(model)
    guide.setup()
    uses = [
        lambda: pf.infer.fit_vi(model, guide, progress=False),
        lambda: pf.infer.flow_mcmc(model, guide, progress=False),
        lambda: pf.infer.importance(model, lambda: pyro.sample("x", dist.Normal(0.0, 1.0))),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=words):
            use()


def test_missing_observations_leave_the_others_posterior():
    y = torch.tensor([1.0, math.nan, 2.0, 0.5])
    for model in (
        given(lambda x: dist.Normal(x, 1.0), y, mask=~y.isnan()),
        given(lambda x: dist.Normal(x, 1.0).expand([4]).mask(~y.isnan()), y),
    ):
        guide = AutoFlow(model)
        assert pf.infer.fit_vi(model, guide, progress=False, seed=0).converged
        result = pf.infer.importance(model, guide)
        means, sds = result.moments()
        assert float(means["x"]) == pytest.approx(3.5 / 4, abs=0.04)
        assert float(sds["x"]) == pytest.approx(0.5, abs=0.03)
        assert "y" in result.evaluation.observed  # it is data, for all that NaN is not equal to NaN


def test_missing_observations_by_obs_mask():
    y = torch.tensor([1.0, math.nan])

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 2):
            pyro.sample("y", dist.Normal(x, 1.0), obs=y, obs_mask=~y.isnan())

    guide = AutoFlow(model)
    pf.infer.fit_vi(model, guide, progress=False, seed=0)
    means, sds = pf.infer.importance(model, guide).moments()
    assert float(means["x"]) == pytest.approx(0.5, abs=0.05)
    assert float(sds["x"]) == pytest.approx(0.5**0.5, abs=0.05)


def test_a_support_that_moves_with_the_latents_may_leave_data_outside():
    y = torch.tensor([0.5, 1.0, 2.0])
    model = given(lambda x: dist.Uniform(0.0, x.exp()), y)
    guide = AutoFlow(model)
    guide.setup()
    log_p = pf.infer.LogDensity(model, guide.latents, (), {})
    assert (log_p(torch.tensor([[0.0], [-1.0]])) == -math.inf).all()
    assert log_p(torch.tensor([[1.0]])).isfinite().all()


def test_counts_of_a_multinomial_may_have_totals_of_their_own():
    """Pyro's tutorials leave the total at one, without validation; the log-density takes the value's own."""
    y = torch.tensor([[3.0, 4.0, 5.0], [1.0, 0.0, 9.0]])

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("row", 2):
            pyro.sample("y", dist.Multinomial(logits=x, validate_args=False), obs=y)

    guide = AutoFlow(model)
    guide.setup()
    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    wanted = dist.Normal(0.0, 1.0).log_prob(u).sum(-1)
    for row in y:
        wanted += dist.Multinomial(int(row.sum()), logits=u).log_prob(row)
    torch.testing.assert_close(pf.infer.LogDensity(model, guide.latents, (), {})(u), wanted)


def test_a_distribution_may_take_nan_for_missing():
    class Missing(dist.Normal):
        def log_prob(self, value):
            return torch.where(value.isnan(), 0.0, super().log_prob(value.nan_to_num()))

    model = given(lambda x: Missing(x, 1.0, validate_args=False), torch.tensor([1.0, math.nan]))
    guide = AutoFlow(model)
    guide.setup()
    found = pf.infer.LogDensity(model, guide.latents, (), {})(torch.zeros(2, 1))
    torch.testing.assert_close(found, torch.full((2,), -0.5 - math.log(2 * math.pi)))


@pytest.mark.parametrize(("y", "kind"), [(1.5, "float"), (np.array(1.5), "numpy.ndarray")])
def test_observations_are_tensors(y, kind):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)

    def guide():
        pyro.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(TypeError, match=f"a tensor as observation of the site 'y'; got {kind}"):
        pf.infer.fit_vi(model, AutoFlow(model), progress=False)
    with pytest.raises(TypeError, match=f"a tensor as observation of the site 'y'; got {kind}"):
        pf.infer.importance(model, guide)


def test_a_subsample_by_a_loop_is_told_as_one():
    y = torch.randn(20)

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        for i in pyro.plate("n", 20, subsample_size=5):
            pyro.sample(f"y_{i}", dist.Normal(x, 1.0), obs=y[i])

    with pytest.raises(ValueError, match=r"expected the model over all data.*got 5 of 20 in plate 'n'"):
        pf.infer.importance(model, lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
