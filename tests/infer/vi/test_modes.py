"""Restarts that find different modes say so."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_flows.infer import AutoFlow, fit_vi
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
    assert caught[0].filename == __file__
    assert history.separation == pytest.approx(8 / 0.3, rel=0.1)
    with pytest.warns(UserWarning, match="different modes"):  # a finished run says it again
        assert run(checkpoint=tmp_path / "run").separation == history.separation


def test_one_mode_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(distance=0.0).separation < 0.2


def test_fits_with_next_to_no_share_do_not_count():
    near = torch.tensor(0.1)
    places = [Place(torch.tensor([0.0, mean]), torch.ones(2), near) for mean in (0.0, 3.0)]
    assert modes_apart(places, [0.0, -1.0])[0] == 3
    assert modes_apart(places, [0.0, -8.0]) == (0.0, None)
    assert modes_apart(places[:1], [0.0]) == (0.0, None)
    far = places[1]._replace(half_variance=torch.tensor(2.0))
    assert modes_apart([places[0], far], [0.0, -1.0]) == (0.0, None)
