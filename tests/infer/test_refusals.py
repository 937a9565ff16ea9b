"""Models that cannot be fitted as they are get one line that says what to do, whatever is called first."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.infer.reparam import ProjectedNormalReparam
from torch import nn

import pyro_flows as pf
from pyro_flows.infer import AutoAmortized, AutoFlow

Y = torch.randn(20, generator=torch.Generator().manual_seed(0))


def of_a_subsample(index=None):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 20, subsample=index) as rows:
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y[rows])


def discrete(index=None):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 20) as rows:
        k = pyro.sample("k", dist.Bernoulli(0.5))
        pyro.sample("y", dist.Normal(x + k, 1.0), obs=Y[rows])


def by_fit_vi(model, index):
    pf.infer.fit_vi(model, AutoFlow(model), index, steps=1, progress=False)


def by_svi(model, index):
    svi = SVI(model, AutoFlow(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(2):
        svi.step(index)


def by_setup(model, index):
    AutoFlow(model).setup(index)


def by_initialise(model, index):
    AutoFlow(model).initialise(index)


def by_importance(model, index):
    pf.infer.importance(model, AutoNormal(pyro.poutine.block(model, hide=["k"])), index, num_samples=10)


def by_amortisation(model, index):
    AutoAmortized(model, nn.Unflatten(0, (-1, 1)), rows=lambda index: Y).setup(index)


@pytest.mark.parametrize(
    "route", [by_setup, by_initialise, by_fit_vi, by_svi, by_importance, by_amortisation]
)
def test_a_discrete_site_that_is_not_marked(route):
    with pytest.raises(ValueError, match=r"k.*infer=\{'enumerate': 'parallel'\}.*config_enumerate"):
        route(discrete, None)


def test_a_discrete_site_of_vectors_that_is_not_marked():
    def model(index):
        pyro.sample("k", dist.Multinomial(3, torch.ones(3)))

    with pytest.raises(ValueError, match=r"got the discrete 'k'.*infer=\{'enumerate': 'parallel'\}"):
        by_setup(model, None)


class Odd(dist.Normal):
    @property
    def support(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("fn", "problem"),
    [(Odd(0.0, 1.0), "has no support"), (dist.ProjectedNormal(torch.ones(3)), "without a bijection")],
)
def test_a_support_that_cannot_be_mapped(fn, problem):
    with pytest.raises(ValueError, match=rf"got 'x', whose {type(fn).__name__} .*{problem}.*reparam"):
        by_setup(lambda index: pyro.sample("x", fn), None)


def test_a_reparameterised_direction():
    @pyro.poutine.reparam(config={"x": ProjectedNormalReparam()})
    def model():
        pyro.sample("x", dist.ProjectedNormal(torch.ones(3)))

    guide = AutoFlow(model)
    guide.setup()
    assert [site.name for site in guide.latents.sites] == ["x_normal"]


@pytest.mark.parametrize("route", [by_initialise, by_fit_vi, by_svi])
def test_a_fixed_subsample_is_told_once(route):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        route(of_a_subsample, torch.arange(5))
    (line,) = [str(warning.message) for warning in told]
    assert "a part of the data only" in line
    assert "5 of 20 in plate 'row'" in line
    assert "subsample_size" in line


def test_importance_wants_all_data():
    with pytest.raises(ValueError, match=r"expected the model over all data.*got 5 of 20 in plate 'row'"):
        by_importance(of_a_subsample, torch.arange(5))


@pytest.mark.filterwarnings("ignore:Found vars in model but not guide")  # Pyro's own, before the error
@pytest.mark.parametrize("elbo", [pf.infer.PathELBO, pf.infer.DRegELBO])
def test_our_bounds_do_not_draw_discrete_sites_that_the_guide_leaves_out(elbo):
    marked = pyro.infer.config_enumerate(discrete)
    svi = SVI(marked, AutoFlow(marked), pyro.optim.Adam({"lr": 0.01}), elbo(num_particles=2))
    with pytest.raises(ValueError, match=r"got none for 'k'.*TraceEnum_ELBO"):
        svi.step()


@pytest.mark.parametrize(
    "make", [AutoFlow, lambda model: pf.infer.AutoMixture([AutoFlow(model), AutoFlow(model)])]
)
def test_latent_sites_that_cannot_take_another_value(make):
    """Shares of one category are one, so that there is nothing to fit."""

    def model():
        pyro.sample("p", dist.Dirichlet(torch.ones(1)))

    with pytest.raises(ValueError, match=r"latent sites with a free element; got none: 'p' of shape \(1,\)"):
        pf.infer.fit_vi(model, make(model), progress=False)
