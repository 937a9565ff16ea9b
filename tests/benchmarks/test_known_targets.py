"""The posteriors with published bounds have the densities that their papers write down."""

import sys
from pathlib import Path

import pyro.distributions as dist
import pytest
import torch

from pyro_flows.infer import log_joint

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the benchmarks are not shipped")


@pytest.fixture
def targets(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import known_targets

    yield known_targets
    for name in ("known_targets", "posteriors", "posterior_models"):
        sys.modules.pop(name, None)


def test_seeds(targets):
    b, tau = 0.1 * torch.randn(21), torch.tensor(2.0)
    values = {"tau": tau, "b": b, "a_0": torch.tensor(-0.5), "a_1": torch.tensor(0.1)}
    values |= {"a_2": torch.tensor(1.3), "a_12": torch.tensor(-0.8)}
    y, n = torch.tensor(targets.GERMINATED), torch.tensor(targets.SEEDS)
    kind, extract = torch.tensor(targets.TYPE), torch.tensor(targets.EXTRACT)
    logits = -0.5 + 0.1 * kind + 1.3 * extract - 0.8 * kind * extract + b
    choose = (n + 1.0).lgamma() - (y + 1.0).lgamma() - (n - y + 1.0).lgamma()
    expected = choose + y * logits.sigmoid().log() + (n - y) * (-logits).sigmoid().log()
    expected = expected.sum() + dist.Normal(0.0, tau**-0.5).log_prob(b).sum()
    expected += dist.Gamma(0.01, 0.01).log_prob(tau)
    expected += sum(dist.Normal(0.0, 10.0).log_prob(values[f"a_{k}"]) for k in ("0", "1", "2", "12"))
    assert (int(y.sum()), int(n.sum())) == (424, 831)
    assert float(log_joint(targets.seeds().model, values)) == pytest.approx(float(expected), rel=1e-5)


def test_brownian_motion(targets):
    x = torch.randn(30).cumsum(0) * 0.1
    step, error = torch.tensor(0.2), torch.tensor(0.3)
    increments = torch.cat([x[:1], x[1:] - x[:-1]])
    expected = dist.Normal(0.0, step).log_prob(increments).sum()
    expected += dist.LogNormal(0.0, 2.0).log_prob(torch.stack([step, error])).sum()
    seen = torch.tensor(targets.WALK_BEFORE + targets.WALK_AFTER)
    expected += dist.Normal(torch.cat([x[:10], x[20:]]), error).log_prob(seen).sum()
    found = log_joint(targets.brownian().model, {"step": step, "error": error, "x": x})
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
