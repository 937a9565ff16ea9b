"""R̂ and effective sample sizes against ArviZ's, and on chains whose mixing is known."""

import math
import warnings
from importlib.metadata import version

import pytest
import torch

from pyro_flows.infer.mcmc.mixing import bulk_ess, r_hat, tail_ess


def autoregressive(chains, draws, correlation, columns=3):
    x = torch.randn(chains, draws, columns, dtype=torch.double)
    for t in range(1, draws):
        x[:, t] = correlation * x[:, t - 1] + math.sqrt(1 - correlation**2) * x[:, t]
    return x


def arviz_figures(x):
    try:
        if int(version("arviz").split(".")[0]) < 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                import arviz
            return float(arviz.rhat(x)), float(arviz.ess(x)), float(arviz.ess(x, method="tail"))
    except ImportError:
        pass
    stats = pytest.importorskip("arviz_stats", reason="its figures are the reference").base.array_stats
    tail = stats.ess(x, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))
    bulk = stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")
    return float(stats.rhat(x, chain_axis=0, draw_axis=1)), float(bulk), float(tail)


@pytest.mark.parametrize("kind", ["mixed", "slow", "apart", "spread", "heavy", "repeated"])
def test_figures_are_arvizs(kind):
    x = autoregressive(4, 200, 0.95 if kind == "slow" else 0.3)
    if kind == "apart":
        x[0] += 1.0
    elif kind == "spread":
        x[0] *= 3.0
    elif kind == "heavy":
        x = x**5
    elif kind == "repeated":  # as after rejections
        x = x.repeat_interleave(2, 1)[:, :200]
    for column in range(3):
        expected = arviz_figures(x[..., column].numpy())
        assert float(r_hat(x)[column]) == pytest.approx(expected[0], abs=2e-3)
        assert float(bulk_ess(x)[column]) == pytest.approx(expected[1], rel=0.05)
        assert float(tail_ess(x)[column]) == pytest.approx(expected[2], rel=0.15)


def test_independent_draws_count_fully_and_slow_ones_by_their_correlation():
    x = autoregressive(64, 500, 0.5, columns=2)
    assert bulk_ess(x) == pytest.approx(64 * 500 / 3 * torch.ones(2), rel=0.1)  # (1 + ρ) / (1 − ρ) = 3
    assert bulk_ess(torch.randn(64, 500)) == pytest.approx(64 * 500, rel=0.1)
    assert float(r_hat(torch.randn(64, 500))) < 1.003


def test_shapes_constants_and_columns_that_are_looked_at_in_parts(monkeypatch):
    x = torch.randn(4, 50, 2, 3)
    x[..., 1, 1] = 7.0
    found = r_hat(x)
    assert found.shape == bulk_ess(x).shape == tail_ess(x).shape == (2, 3)
    assert found.isnan().nonzero().tolist() == [[1, 1]]
    monkeypatch.setattr("pyro_flows.infer.mcmc.mixing._ELEMENTS", 400)
    torch.testing.assert_close(r_hat(x), found, equal_nan=True)
    assert r_hat(torch.randn(4, 50)).shape == ()
    assert r_hat(torch.randn(4, 50, 0)).shape == (0,)
    stuck = torch.arange(4.0)[:, None].expand(4, 50)  # each chain by itself
    assert float(r_hat(stuck)) > 100
    with pytest.raises(ValueError, match="expected draws of shape"):
        r_hat(torch.randn(4, 3))
