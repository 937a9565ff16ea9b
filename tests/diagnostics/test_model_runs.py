"""How often the diagnostics of one result run the model."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf


def test_the_readmes_lines_draw_and_score_once():
    runs = 0

    def model():
        nonlocal runs
        runs += 1
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 3):
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3))

    def guide():
        pyro.sample("x", dist.Normal(0.0, 0.52))

    counts = []

    def counted(call, *args):
        nonlocal runs
        runs = 0
        found = call(*args)
        counts.append(runs)
        return found

    result = counted(pf.infer.importance, model, guide)
    assert counted(pf.diagnostics.report, result).verdict == "good"
    counted(pf.diagnostics.loo, result)
    pytest.importorskip("arviz_base", reason="ArviZ's containers")
    counted(pf.diagnostics.to_arviz, result)
    counted(pf.diagnostics.to_arviz, result)
    importance, report, loo, arviz, again = counts
    assert (loo, again) == (0, 0)
    assert report <= 7  # a trace, and draws spread to three widths, a few of them first
    assert arviz <= 1  # predictions
    assert importance + report + arviz <= 24  # 34 when each line drew and scored anew
