"""`fit_vi` with a compiled flow fits what it fits without, or says why it is not compiled."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch._dynamo.utils import counters

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, VISettings, fit_vi
from pyro_flows.infer.guides import start
from pyro_flows.infer.vi import convergence

from ...training.test_compiled import STRUCTURE, differ
from ...training.test_resume import kept_checkpoints


@pytest.fixture(autouse=True)
def _small_and_exact(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)
    monkeypatch.setattr(convergence, "CHECK_EVERY", 5)
    torch._dynamo.reset()
    counters.clear()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def funnel():
    v = pyro.sample("v", dist.Normal(0.0, 2.0))
    with pyro.plate("xs", 2):
        pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))


def couplings(dim):
    return pf.real_nvp(dim, depth=2, hidden=(8,))


def fit(transform=couplings, checkpoint=None, **options):
    torch.manual_seed(2)
    guide = AutoFlow(funnel, transform)
    settings = VISettings(**{"progress": False, "seed": 0, "steps": 20, "tolerance": 0.0} | options)
    return guide, fit_vi(funnel, guide, settings=settings, checkpoint=checkpoint)


@pytest.mark.parametrize("path_gradient", [True, False])
def test_one_graph_for_all_restarts_ends_where_eager_execution_does(path_gradient):
    options = {"path_gradient": path_gradient, "restarts": 2}
    (eager, history), (guide, compiled) = (fit(compile=c, **options) for c in (False, STRUCTURE))
    assert counters["stats"]["unique_graphs"] == 1
    assert not differ(eager, guide, 1e-9)
    assert compiled.bounds == pytest.approx(history.bounds, abs=1e-9)
    assert history.compile_seconds == 0 < compiled.compile_seconds < compiled.seconds


@pytest.mark.slow
def test_the_default_compiler():
    (eager, _), (guide, _) = (fit(compile=c) for c in (False, True))
    assert counters["stats"]["unique_graphs"] == 1
    assert not differ(eager, guide, 1e-9)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    options = {"compile": STRUCTURE, "checkpoint_every": 0.0}
    with kept_checkpoints(tmp_path) as paths:
        whole, history = fit(checkpoint=tmp_path / "run", **options)
    assert 0 < torch.load(paths[1], weights_only=True)["history"]["steps"] < history.steps
    resumed, again = fit(checkpoint=paths[1], **options)
    assert not differ(whole, resumed)
    assert again.bounds == history.bounds


@pytest.mark.parametrize("norm", [pf.transforms.BatchNorm, pf.transforms.ActNorm])
def test_layers_that_depend_on_the_batch_elsewhere_compile_in_a_guide(norm):
    def normed(dim):
        return pf.real_nvp(dim, depth=2, hidden=(8,), norm=norm)

    (eager, _), (guide, _) = (fit(normed, compile=compiled) for compiled in (False, STRUCTURE))
    assert counters["stats"]["unique_graphs"] == 1
    assert not differ(eager, guide, 1e-9)


def test_what_cannot_be_compiled_runs_eagerly():
    def saving(dim):
        return pf.save_memory(couplings(dim))

    with pytest.warns(UserWarning, match=r"without torch\.compile: .*") as caught:
        fit(saving, compile=STRUCTURE)
    assert [w.filename for w in caught] == [__file__]


def test_what_compile_may_be():
    with pytest.raises(TypeError, match="expected compile as True, False or a backend's name; got 1"):
        VISettings(compile=1)
