"""Leave-one-out cross-validation against closed forms and ArviZ's own."""

import math
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf


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


def test_loo_agrees_with_arvizs_correction(monkeypatch):
    stats = pytest.importorskip("arviz_stats", reason="the reference")
    monkeypatch.setitem(sys.modules, "arviz", None)  # a DataTree, whatever ArviZ there is beside it
    y = torch.randn(12, dtype=torch.double)

    def guide(y):
        pyro.sample("x", dist.Normal(y.sum() / 13 + 0.1, 0.3))

    result = pf.infer.importance(location, guide, y, num_samples=4000)
    idata = pf.diagnostics.to_arviz(result)
    densities = idata["sample_stats"]
    theirs = stats.loo_approximate_posterior(idata, densities["lp"], densities["log_q"], pointwise=True)
    ours = pf.diagnostics.loo(result)
    assert ours.elpd == pytest.approx(float(theirs.elpd), abs=0.02)
    assert ours.se == pytest.approx(float(theirs.se), rel=0.1)
    np.testing.assert_allclose(ours.pointwise, theirs.elpd_i, atol=0.01)


def test_loo_refuses_what_it_cannot_do():
    y = torch.randn(4)
    result = pf.infer.importance(location, lambda y: pyro.sample("x", dist.Normal(0.0, 1.0)), y)
    with pytest.raises(ValueError, match=r"expected an observed site of \['y'\]; got 'z'"):
        pf.diagnostics.loo(result, "z")

    def joint():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x.unsqueeze(-1), torch.ones(3)).to_event(1), obs=torch.zeros(3))

    result = pf.infer.importance(joint, lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match="expected at least two observations, in a plate"):
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


@pytest.mark.parametrize("how", ["poutine", "distribution"])
def test_masked_rows_are_left_out(how):
    """As if they were not there: four rows of score zero would put the standard error up by a half."""
    y, mask = torch.randn(12, dtype=torch.double), torch.arange(12) % 3 > 0

    def model(y, mask):
        x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=y.dtype), 1.0))
        law = dist.Normal(x, torch.ones_like(y))
        with pyro.plate("row", len(y)):
            if how == "poutine":
                with pyro.poutine.mask(mask=mask):
                    pyro.sample("y", law, obs=y)
            else:
                pyro.sample("y", law.mask(mask), obs=y)

    def guide(y, mask):
        pyro.sample("x", dist.Normal(y[mask].sum() / 9, 1 / 3))

    found = pf.diagnostics.loo(pf.infer.importance(model, guide, y, mask, num_samples=20_000))
    wanted = exact_loo(y[mask])
    assert found.counted.equal(mask)
    assert found.pointwise.shape == (12,)
    torch.testing.assert_close(found.pointwise[mask], wanted, atol=0.01, rtol=0)
    assert bool(found.pointwise[~mask].isnan().all())
    assert found.elpd == pytest.approx(float(wanted.sum()), abs=0.03)
    assert found.se == pytest.approx(float(wanted.std()) * 8**0.5, abs=0.03)
    assert found.unreliable == 0


def test_all_rows_masked():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 3), pyro.poutine.mask(mask=torch.zeros(3, dtype=torch.bool)):
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3))

    result = pf.infer.importance(model, lambda: pyro.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match="expected at least two observations, in a plate; got 0"):
        pf.diagnostics.loo(result)


def prior(*_):
    pyro.sample("x", dist.Normal(0.0, 1.0))


def scaled(y, scale):
    x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=y.dtype), 1.0))
    with pyro.plate("row", len(y)), pyro.poutine.scale(scale=scale):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


@pytest.mark.parametrize("scale", [0.5, torch.tensor(0.5), torch.linspace(0.2, 2.0, 12)])
def test_an_observation_is_left_out_with_its_scale_and_predicted_without(scale):
    y, s = torch.randn(12, dtype=torch.double), torch.as_tensor(scale).double().expand(12)

    def guide(y, scale):
        precision = 1 + s.sum()
        pyro.sample("x", dist.Normal((s * y).sum() / precision, 1.1 * precision**-0.5))

    result = pf.infer.importance(scaled, guide, y, scale, num_samples=20_000)
    precision = 1 + s.sum() - s
    wanted = dist.Normal(((s * y).sum() - s * y) / precision, (1 + 1 / precision).sqrt()).log_prob(y)
    torch.testing.assert_close(pf.diagnostics.loo(result).pointwise, wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("count", [1, 2], ids=["one site", "sites that share a log-likelihood"])
def test_the_scale_of_a_mixture_stands_outside_its_sum(count):
    y = torch.tensor([0.0, 4.0, 2.0, 0.5])

    def model(y):
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
        with pyro.plate("row", len(y)), pyro.poutine.scale(scale=0.5):
            z = pyro.sample("z", dist.Bernoulli(p), infer={"enumerate": "parallel"})
            for i in range(count):
                pyro.sample(f"y_{i}", dist.Normal(4 * z, 1.0), obs=y)

    result = pf.infer.importance(
        model, lambda y: pyro.sample("p", dist.Beta(2.0, 2.0)), y, num_samples=20_000
    )
    grid = torch.linspace(1e-4, 1 - 1e-4, 2001)[:, None].double()
    zero, one = ((count * dist.Normal(loc, 1.0).log_prob(y)).exp() for loc in (0.0, 4.0))
    scores = (grid * one + (1 - grid) * zero).log()
    rest = (grid * (1 - grid)).log() + (scores.sum(1, keepdim=True) - scores) / 2
    wanted = (rest + scores).logsumexp(0) - rest.logsumexp(0)
    torch.testing.assert_close(pf.diagnostics.loo(result).pointwise, wanted, atol=0.02, rtol=0)


def test_a_scale_of_zero_is_a_mask():
    y = torch.randn(4)
    scale = torch.tensor([1.0, 0.0, 1.0, 1.0])
    found = pf.diagnostics.loo(pf.infer.importance(scaled, prior, y, scale))
    assert found.counted.tolist() == [True, False, True, True]
    assert math.isfinite(found.elpd)


def test_few_draws_are_refused():
    """The weight of a single one is constant, whatever is left out."""
    y = torch.randn(4)
    for n in (1, 99):
        result = pf.infer.importance(location, prior, y, num_samples=n)
        with pytest.raises(ValueError, match=f"expected ≥ 100 draws to judge by; got {n}"):
            pf.diagnostics.loo(result)


def test_loo_is_of_one_fit():
    y = torch.randn(4)
    result = pf.infer.importance(location, lambda y: pyro.sample("x", dist.Normal(0.0, 1.0)), y)
    with pytest.raises(ValueError, match="expected the result of one fit; got 2"):
        pf.diagnostics.loo([result, result])
    with pytest.raises(TypeError, match="got function"):
        pf.diagnostics.loo(location)
