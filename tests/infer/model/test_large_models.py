"""A model with much data runs at a bounded number of draws at once, whatever is asked of it."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.infer.guides import start
from pyro_flows.infer.model import evaluation, runs

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


def test_parts_are_of_one_size():
    values = {"x": torch.arange(41.0), "y": torch.randn(41, 3)}
    parts = runs.in_parts(values, 20)
    assert [len(part["x"]) for part in parts] == [14, 14, 13]
    assert torch.equal(torch.cat([part["y"] for part in parts]), values["y"])
