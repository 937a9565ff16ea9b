"""Restarts that find different modes say so."""

import math
import pickle
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_flows.diagnostics import report
from pyro_flows.infer import AutoFlow, fit_vi, importance
from pyro_flows.infer.guides import start
from pyro_flows.infer.vi.modes import Place, modes_apart
from pyro_flows.transforms import DiagonalScaling


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)


def mixture(distance=4.0):
    x = pyro.sample("x", dist.Normal(0.0, 5.0))
    parts = torch.stack([dist.Normal(side * distance, 0.3).log_prob(x) for side in (-1, 1)])
    pyro.factor("mixture", parts.logsumexp(0) - math.log(2))


def run(**kwargs):
    guide = AutoFlow(mixture, lambda dim: DiagonalScaling(dim))
    return fit_vi(mixture, guide, restarts=5, steps=40, seed=0, progress=False, **kwargs)


def test_restarts_that_find_different_modes_say_so(tmp_path):
    with pytest.warns(UserWarning, match="the restarts have found different modes") as caught:
        history = run(checkpoint=tmp_path / "run")
    assert "`mixture`, in what fit_vi returns, is a guide of all of them" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert history.separation == pytest.approx(8 / 0.3, rel=0.1)
    found = importance(mixture, history.mixture)
    assert found.log_evidence == pytest.approx(evidence(), abs=0.01)
    assert float((found.draws["x"] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert report(found).verdict == "good"
    with pytest.warns(UserWarning, match="different modes"):  # a finished run says it again
        again = run(checkpoint=tmp_path / "run")
    assert again.separation == history.separation
    assert again.mixture.weights.equal(history.mixture.weights)
    assert pickle.loads(pickle.dumps(again)).bounds == history.bounds


def evidence():
    x = torch.linspace(-10, 10, 20_001, dtype=torch.double)
    parts = [dist.Normal(side * 4.0, 0.3).log_prob(x) - math.log(2) for side in (-1, 1)]
    return float(
        (dist.Normal(0.0, 5.0).log_prob(x) + torch.stack(parts).logsumexp(0)).logsumexp(0)
    ) - 3 * math.log(10)


def learning():
    mixture(pyro.param("at", torch.tensor(4.0)))


def subsampled():
    mixture()
    with pyro.plate("rows", 4, subsample_size=2):
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(2))


@pytest.mark.parametrize("model", [learning, subsampled])
@pytest.mark.filterwarnings("ignore:the model has seen a part")
def test_fits_that_cannot_be_weighed_make_no_mixture(model):
    guide = AutoFlow(model, lambda dim: DiagonalScaling(dim))
    with pytest.warns(UserWarning, match=r"draws miss the rest of the posterior$"):
        history = fit_vi(model, guide, restarts=5, steps=40, seed=0, progress=False)
    assert history.mixture is None


def test_one_mode_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = run(distance=0.0)
        assert history.separation < 0.2
        assert history.mixture is None


def test_fits_with_next_to_no_share_do_not_count():
    near = torch.tensor(0.1)
    places = [Place(torch.tensor([0.0, mean]), torch.ones(2), near) for mean in (0.0, 3.0)]
    assert modes_apart(places, [0.0, -1.0])[0] == 3
    assert modes_apart(places, [0.0, -8.0]) == (0.0, None)
    assert modes_apart(places[:1], [0.0]) == (0.0, None)
    far = places[1]._replace(half_variance=torch.tensor(2.0))
    assert modes_apart([places[0], far], [0.0, -1.0]) == (0.0, None)
