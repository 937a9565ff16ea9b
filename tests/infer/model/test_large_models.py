"""A model with much data runs at a bounded number of draws at once, whatever is asked of it."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.infer.guides import start
from pyro_flows.infer.model import evaluation, runs

from .test_joint import packed

ROWS, AT_ONCE = 300, 20


@pytest.fixture
def asked(monkeypatch):
    """Return a model, its fitted guide, and the numbers of draws that the model has run at."""
    monkeypatch.setattr(runs, "_MOST_ELEMENTS", AT_ONCE * (ROWS + 2))
    monkeypatch.setattr(evaluation, "_FEWEST", AT_ONCE)
    monkeypatch.setattr(start, "STEPS", 20)
    pyro.set_rng_seed(0)
    x = torch.randn(ROWS)
    y = 0.3 + 0.5 * x + torch.randn(ROWS)
    counts: list[int] = []

    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        counts.append(a.numel())
        with pyro.plate("rows", ROWS):
            pyro.sample("y", dist.Normal(a + b * x, 1.0), obs=y)

    guide = pf.infer.AutoFlow(model)
    pf.infer.fit_vi(model, guide, steps=20, batch_size=100, seed=0, progress=False)
    return model, guide, counts


ASKED = {
    "report": lambda result: pf.diagnostics.report(result).verdict,
    "predictions": lambda result: result.predicted["y"].shape == (500, ROWS),
    "loo": lambda result: pf.diagnostics.loo(result),
    "chains": lambda result: pf.infer.flow_mcmc(
        result.model, result.guide, num_chains=60, num_samples=10, warmup_steps=20, progress=False
    ),
    "a mixture": lambda result: pf.infer.fit_vi(
        result.model,
        pf.infer.AutoMixture([pf.infer.AutoFlow(result.model) for _ in range(2)]),
        steps=20,
        batch_size=100,
        seed=0,
        progress=False,
    ),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_few_draws_run_at_once(asked, ask):
    model, guide, counts = asked
    assert ask(pf.infer.importance(model, guide, num_samples=500)) is not None
    assert max(counts) <= max(AT_ONCE, runs._LOOKS + 1)  # of a check


@pytest.fixture
def both(monkeypatch):
    """Return a result with each observation's log-density, and one of the same draws with their sums."""
    y = torch.randn(ROWS)

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.deterministic("square", x**2)
        with pyro.plate("rows", ROWS):
            pyro.deterministic("mean", x + torch.zeros(ROWS))
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)

    def guide():
        pyro.sample("x", dist.Normal(y.mean(), 0.06))

    def found():
        pyro.set_rng_seed(0)
        return pf.infer.importance(model, guide, num_samples=200)

    whole = found()
    monkeypatch.setattr(evaluation, "_MOST_KEPT", 200 * ROWS - 1)
    with pytest.warns(UserWarning, match=r"deterministic sites are left out, since 200 draws .*: mean"):
        return whole, found()


def test_many_observations_are_summed_up(both):
    whole, summed = both
    assert summed.evaluation.summed == {"y": ROWS}
    assert summed.evaluation.log_likelihood["y"].shape == (200,)
    torch.testing.assert_close(summed.log_weights, whole.log_weights)
    assert sorted(summed.draws) == ["square", "x"]
    assert pf.diagnostics.report(summed).verdict == pf.diagnostics.report(whole).verdict
    assert not whole.evaluation.summed


def test_what_wants_single_observations_says_that_they_were_too_many(both):
    whole, summed = both
    with pytest.raises(ValueError, match="got their sums, since 300 × 200 draws at 'y' take too much memory"):
        pf.diagnostics.loo(summed)
    assert pf.diagnostics.loo(whole).pointwise.shape == (ROWS,)
    with pytest.warns(UserWarning, match=r"left out, since so many draws .*: y \(300 observations\)"):
        found = pf.diagnostics.to_arviz(summed)
    names = {name.strip("/") for name in found.groups} if hasattr(found, "children") else {*found.groups()}
    assert "log_prior" in names
    assert not names & {"log_likelihood", "posterior_predictive"}


def test_parts_are_of_one_size():
    values = {"x": torch.arange(41.0), "y": torch.randn(41, 3)}
    parts = runs.in_parts(values, 20)
    assert [len(part["x"]) for part in parts] == [14, 14, 13]
    assert torch.equal(torch.cat([part["y"] for part in parts]), values["y"])


def test_the_last_draw_may_fail(monkeypatch):
    """It is not left alone in a part of its own, of which the model would raise at all draws."""
    monkeypatch.setattr(runs, "_MOST_ELEMENTS", AT_ONCE)
    monkeypatch.setattr(evaluation, "_FEWEST", AT_ONCE)

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        if bool((x > 5).any()):
            raise ValueError("too large")
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.5))

    x = torch.linspace(-1.0, 1.0, 2 * AT_ONCE + 1)
    x[-1] = 6.0
    with pytest.warns(UserWarning, match="raised at 1 of"):
        found = evaluation.evaluate_at(model, {"x": x}, torch.zeros(len(x), dtype=torch.float64))
    assert found.failed == 1
    assert torch.equal(found.log_p.isinf(), x > 5)
    density = pf.infer.LogDensity(model, packed(model), (), {})
    with pytest.warns(UserWarning, match="raised at 1 of"):
        assert torch.equal(density.in_parts(x[:, None]).isinf(), x > 5)
