"""Steps of `fit_vi` read nothing back from the device."""

import pyro
import pyro.distributions as dist
import pytest

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, VISettings, fit_vi
from pyro_flows.infer.guides import start
from pyro_flows.infer.vi.vi_run import VIRun
from pyro_flows.testing.reads import Reads


def funnel():
    v = pyro.sample("v", dist.Normal(0.0, 2.0))
    with pyro.plate("xs", 2):
        pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))


@pytest.mark.parametrize("path_gradient", [True, False])
def test_steps_of_fit_vi_read_nothing(path_gradient, monkeypatch):
    monkeypatch.setattr(start, "STEPS", 5)
    step, reads = VIRun._step, Reads()

    def counted(self):
        if self.step == 0:  # Pyro and torch may look around once
            return step(self)
        with reads, pyro.validation_enabled(False):  # the model's own checks of its values read
            return step(self)

    monkeypatch.setattr(VIRun, "_step", counted)
    guide = AutoFlow(funnel, lambda d: pf.real_nvp(d, depth=2, hidden=(8,)))
    settings = VISettings(
        progress=False, seed=0, steps=60, tolerance=0.0, path_gradient=path_gradient, batch_size=16
    )
    history = fit_vi(funnel, guide, settings=settings)
    assert history.steps == 60
    assert not reads.found
