"""AutoFlow for some sites beside other guides for the rest."""

import copy
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoGuideList, AutoMultivariateNormal, AutoNormal
from torch import nn

from pyro_flows.diagnostics import report, to_arviz
from pyro_flows.infer import AutoAmortized, AutoFlow, PathELBO, importance
from pyro_flows.infer.guides import start

Y = torch.tensor([1.0, 2.0, 4.0, 0.0])


def hierarchy():
    """A mean, its scale and one effect each: y ~ N(0, 2 I + 1 1ᵀ) if the scale is one."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("groups", 4):
        effect = pyro.sample("effect", dist.Normal(mean, 1.0))
        pyro.sample("y", dist.Normal(effect, 1.0), obs=Y)


LOG_Z = float(dist.MultivariateNormal(torch.zeros(4), 2 * torch.eye(4) + 1).log_prob(Y))


def guides(first, second, model=hierarchy, site="effect"):
    both = AutoGuideList(model)
    both.append(first(poutine.block(model, hide=[site])))
    both.append(second(poutine.block(model, expose=[site])))
    return both


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)


PAIRS = [(AutoFlow, AutoNormal), (AutoDelta, AutoFlow), (AutoFlow, AutoFlow)]


@pytest.mark.parametrize("elbo", [Trace_ELBO, PathELBO])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_particles_run_together_through_svi_and_importance(elbo, first, second):
    guide = guides(first, second)
    svi = SVI(
        hierarchy,
        guide,
        pyro.optim.Adam({"lr": 0.03}),
        elbo(num_particles=8, vectorize_particles=True, max_plate_nesting=1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [svi.step() for _ in range(12)]
        result = importance(hierarchy, guide, num_samples=200)
    assert math.isfinite(losses[-1])
    assert result.draws["effect"].shape == (200, 4)


def test_a_list_of_a_flow_and_pyros_guide_estimates_the_evidence():
    guide = guides(AutoFlow, AutoMultivariateNormal)
    elbo = PathELBO(num_particles=32, vectorize_particles=True)
    svi = SVI(hierarchy, guide, pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.97}), elbo)
    for _ in range(80):
        svi.step()
    result = importance(hierarchy, guide, num_samples=4000)
    assert result.log_evidence == pytest.approx(LOG_Z, abs=0.2)
    assert result.gap < 0.7  # the mean and the effects are correlated, which two guides cannot tell
    judged = report(result)
    assert judged.verdict != "good"
    assert "in place of AutoGuideList" in judged.advice
    posterior = to_arviz([result, result])["posterior"]
    assert dict(posterior["effect"].sizes) == {"chain": 2, "draw": 4000, "groups": 4}
    assert dict(posterior["mean"].sizes) == {"chain": 2, "draw": 4000}


def rows(y, batch=None):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample_size=batch) as index:
        z = pyro.sample("z", dist.Normal(mean, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y[index])


@pytest.mark.parametrize("batch", [None, 2])
def test_amortised_local_sites_beside_another_guide_of_the_global_ones(batch):
    guide = AutoGuideList(rows)
    if batch:
        guide.create_plates = lambda y, batch=None: pyro.plate("row", len(y), subsample_size=batch, dim=-1)
    guide.append(AutoFlow(poutine.block(rows, expose=["mean"])))
    local = AutoAmortized(
        poutine.block(rows, expose=["z", "row"]), nn.Unflatten(0, (-1, 1)), rows=lambda y, *_: y
    )
    guide.append(local)
    elbo = Trace_ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(rows, guide, pyro.optim.ClippedAdam({"lr": 0.02}), elbo)
    losses = [svi.step(Y, batch) for _ in range(60)]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-10:]) < sum(losses[:10])
    result = importance(rows, guide, Y, num_samples=500)
    assert result.draws["z"].shape == (500, 4)
    assert result.log_evidence == pytest.approx(LOG_Z, abs=0.5)
    assert local.sample_rows(torch.randn(7), 3)["z"].shape == (3, 7)
    twin = copy.deepcopy(guide)
    torch.manual_seed(0)
    wanted = guide(Y)["z"]
    torch.manual_seed(0)
    assert torch.equal(twin(Y)["z"], wanted)


def test_a_guide_beside_hidden_sites_starts_plainly():
    def model():
        scale = pyro.sample("scale", dist.HalfNormal(10.0))
        loc = pyro.sample("loc", dist.Normal(3.0, 1.0))
        pyro.sample("y", dist.Normal(loc, scale), obs=torch.tensor(30.0))

    guide = guides(AutoFlow, AutoNormal, model, "scale")
    guide()
    assert torch.equal(guide[0].whitening.scale, 0.1 * torch.eye(1))
    assert guide[0].whitening.loc == pytest.approx(3.0, abs=1.5)  # the prior's median, of 15 draws
    alone = AutoFlow(poutine.block(model, hide=["y"]))  # hides nothing that is drawn
    alone()
    assert float(alone.whitening.scale.diagonal().min()) > 0.2


def test_a_subsampled_model_still_has_a_density_to_climb():
    data = torch.randn(50) * 0.1 + 5

    def model():
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("rows", 50, subsample_size=10) as rows:
            pyro.sample("y", dist.Normal(loc, 0.1), obs=data[rows])

    guide = AutoFlow(model)
    guide.initialise()
    assert guide.whitening.loc.item() == pytest.approx(5.0, abs=0.2)
    assert guide.whitening.scale.item() == pytest.approx(0.1 / 50**0.5, rel=0.1)
