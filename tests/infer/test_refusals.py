"""Models that cannot be fitted as they are get one line that says what to do, whatever is called first."""

import math
import re
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

    with pytest.raises(
        ValueError, match=r"got the discrete 'k': Pyro does not enumerate the values of a Multinomial"
    ):
        by_setup(model, None)


@pytest.mark.parametrize(
    ("fn", "marked", "told"),
    [
        (dist.Poisson(2.0), "parallel", "not enumerate the values of a Poisson"),
        (dist.Poisson(torch.ones(2)).to_event(1), None, "not enumerate the values of a Poisson"),
        (
            dist.Bernoulli(0.5),
            "sequential",
            "marked by infer={'enumerate': 'sequential'}, and only 'parallel'",
        ),
    ],
)
def test_advice_on_a_discrete_site_is_none_that_was_followed(fn, marked, told):
    def model(index):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        k = pyro.sample("k", fn, infer={} if marked is None else {"enumerate": marked})
        pyro.sample("y", dist.Normal(x + k.sum(), 1.0), obs=torch.tensor(1.0))

    for route in (by_setup, by_importance):
        with pytest.raises(ValueError, match=re.escape(told)) as error:
            route(model, None)
        assert "config_enumerate" not in str(error.value)


PERIODIC = {
    "VonMises": dist.VonMises(0.0, 2.0),
    "VonMises of rows": dist.VonMises(torch.zeros(3), 2.0).to_event(1),
    "SineBivariateVonMises": dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.5),
    "SineSkewed": dist.SineSkewed(
        dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.5), torch.tensor([0.1, -0.2])
    ),
    "shifted": dist.TransformedDistribution(
        dist.VonMises(0.0, 2.0), [dist.transforms.AffineTransform(1.0, 2.0)]
    ),
}


@pytest.mark.parametrize("fn", PERIODIC.values(), ids=PERIODIC)
def test_a_periodic_density_is_refused_with_what_to_write_instead(fn):
    with pytest.raises(
        ValueError, match=r"got 'angle', whose (VonMises|Sine\w+) repeats every 2π: draw .*Uniform"
    ):
        by_setup(lambda index: pyro.sample("angle", fn), None)


def test_a_periodic_density_written_as_the_refusal_says_has_evidence_one():
    fn = dist.VonMises(0.5, 2.0)

    def model(index=None):
        angle = pyro.sample("angle", dist.Uniform(-math.pi, math.pi))
        pyro.factor("density", fn.log_prob(angle) + math.log(2 * math.pi))

    guide = AutoFlow(model)
    pf.infer.fit_vi(model, guide, steps=400, seed=0, progress=False)
    found = pf.infer.importance(model, guide, num_samples=4000)
    assert found.log_evidence == pytest.approx(0, abs=0.02)
    assert guide.median()["angle"].item() == pytest.approx(0.5, abs=0.1)


def test_an_observed_angle_may_be_periodic():
    def model(index=None):
        loc = pyro.sample("loc", dist.Normal(0.0, 0.3))
        pyro.sample("y", dist.VonMises(loc, 2.0), obs=torch.tensor(0.5))

    AutoFlow(model).setup()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("route", [by_setup, by_fit_vi, by_svi])
def test_a_latent_site_of_low_precision(route, dtype):
    def model(index):
        pyro.sample("x", dist.Normal(torch.zeros(2, dtype=dtype), 1.0).to_event(1))

    with pytest.raises(ValueError, match=f"in single or double precision; got 'x' of {dtype}"):
        route(model, None)


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
