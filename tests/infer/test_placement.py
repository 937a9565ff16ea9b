"""Steps of `fit_vi` and the scoring of `importance` on the meta device: nothing touches a CPU tensor."""

import copy
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.infer import AutoFlow
from pyro_flows.infer.guides import start
from pyro_flows.infer.guides.bound import Bound
from pyro_flows.infer.guides.mixture_bound import MixtureBound
from pyro_flows.infer.model.density import LogDensity
from pyro_flows.loop.clipped_step import ClippedStep
from pyro_flows.testing.placement import NoCPU

from ..helpers.placement import AdamAnywhere

META = torch.device("meta")


class Regression:
    """A hierarchical model whose data can be moved; scales are positive, weights a simplex."""

    def __init__(self):
        self.x, self.y = torch.randn(6, 2), torch.randn(6)

    def __call__(self):
        scale = pyro.sample("scale", dist.HalfNormal(self.x.new_ones(())))
        share = pyro.sample("share", dist.Dirichlet(self.x.new_ones(3)))
        with pyro.plate("columns", 2):
            slope = pyro.sample("slope", dist.Normal(self.x.new_zeros(()), scale))
        mean = (self.x * slope.unsqueeze(-2)).sum(-1) + share[..., :1]
        with pyro.plate("rows", 6):
            pyro.sample("y", dist.StudentT(4.0, mean, scale), obs=self.y)

    def to(self, device):
        self.x, self.y = self.x.to(device), self.y.to(device)


class Matrices(Regression):
    """A model for one draw, which `torch.func.vmap` runs at many."""

    def __call__(self):
        slope = pyro.sample("slope", dist.Normal(self.x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(torch.mv(self.x, slope), 1.0).to_event(1), obs=self.y)


FAMILIES = {
    "Gaussian": lambda d: [],
    "default": None,
    "Real NVP": lambda d: pf.real_nvp(d, depth=2, hidden=(8,)),
    "IAF": lambda d: pf.iaf(d, depth=1, hidden=(8,)),
    "splines": lambda d: pf.nsf(d, depth=1, hidden=(8,)),
    "planar": lambda d: pf.planar(d, depth=2),
    "radial": lambda d: pf.radial(d, depth=2),
    "residual": lambda d: pf.residual(d, depth=1, hidden=(8,)).inv,
}


def moved(model, transform, monkeypatch):
    """Return a guide and the model's log-density, made on the CPU and moved."""
    monkeypatch.setattr(start, "STEPS", 5)
    guide = AutoFlow(model, transform)
    guide.initialise()
    density = LogDensity(model, guide.latents, (), {})
    density.prepare(guide.whitening.loc[None])
    model.to(META)
    guide.to(META)
    return guide, density


@pytest.mark.parametrize("path_gradient", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_fit_vi_touches_no_cpu_tensor(family, path_gradient, monkeypatch):
    guide, density = moved(Regression(), FAMILIES[family], monkeypatch)
    _steps(guide, density, path_gradient)


def test_nor_does_one_under_vmap(monkeypatch):
    guide, density = moved(Matrices(), FAMILIES["Real NVP"], monkeypatch)
    assert density.how.way == "vmap"
    _steps(guide, density, True)


@pytest.mark.parametrize("path_gradient", [True, False])
def test_nor_does_one_of_a_mixture(path_gradient, monkeypatch):
    guide, density = moved(Regression(), FAMILIES["Real NVP"], monkeypatch)
    other = copy.deepcopy(guide)
    mixture = SimpleNamespace(guides=[guide, other], log_weights=torch.zeros(2, device=META))
    _take(MixtureBound(density, mixture, path_gradient=path_gradient), guide, other)


def _steps(guide, density, path_gradient):
    _take(Bound(density, guide.get_transform(), guide.get_base_dist(), path_gradient=path_gradient), guide)


def _take(bound, *guides):
    parameters = [p for guide in guides for p in guide.parameters()]
    step = ClippedStep(AdamAnywhere(parameters), clip=1.0)
    for _ in range(2):
        step.optimizer.zero_grad()
        with NoCPU():
            weights = bound.backward(16)
            step(0.5)
    assert weights.device == step.skipped.device == META
    assert weights.shape == (32 if len(guides) > 1 else 16,)  # at least 16 of each component
    assert {p.device for p in parameters} == {META}


@pytest.mark.parametrize("model", [Regression, Matrices])
def test_draws_are_weighed_where_they_are(model, monkeypatch):
    guide, density = moved(model(), FAMILIES["splines"], monkeypatch)
    with torch.no_grad(), pyro.validation_enabled(False), NoCPU():
        values, log_q = guide.sample_and_log_prob(16)
        weights = density.runs.total(values) - log_q
        scores = density.runs.sites(values)
    assert weights.device == META
    assert {score.device for score in scores.values()} == {META}
