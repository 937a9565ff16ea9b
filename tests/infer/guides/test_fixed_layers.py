"""A guide scores what it draws, whatever layers its flow has, and trains with them."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from torch import nn

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, DRegELBO, JitPathELBO, PathELBO, fit_vi
from pyro_flows.infer.guides import start
from pyro_flows.infer.guides.bound import Bound

LOG_Z = float(dist.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0)) - torch.tensor(2.0).log())


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 20)


def target():
    x = pyro.sample("x", dist.Normal(torch.zeros(2), torch.tensor([1.0, 3.0])).to_event(1))
    pyro.sample("y", dist.Normal(x[..., 0], 1.0), obs=torch.tensor(1.0))
    pyro.factor("half", -torch.tensor(2.0).log())


def normed(norm):
    return lambda dim: pf.real_nvp(dim, depth=2, hidden=(8,), norm=norm, net=pf.nn.MLP)


def dropped_out(dim):
    def net(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 8), nn.Dropout(0.5), nn.Linear(8, outputs))

    affine, half = pf.elementwise.Affine(), pf.partitions.Halves((dim,))
    return pf.transforms.Coupling(half, affine, net(1, affine.num_params))


KINDS = {
    "batch norm": normed(pf.transforms.BatchNorm),
    "act norm": normed(pf.transforms.ActNorm),
    "dropout": dropped_out,
}


@pytest.mark.parametrize("kind", KINDS)
def test_fit_vi_reaches_the_evidence(kind):
    guide = AutoFlow(target, KINDS[kind])
    history = fit_vi(target, guide, settings=pf.infer.VISettings(progress=False, seed=0, steps=100))
    assert history.best_bound == pytest.approx(LOG_Z, abs=0.01)
    assert pf.infer.importance(target, guide, num_samples=1000).log_evidence == pytest.approx(LOG_Z, abs=0.02)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("elbo", [Trace_ELBO, JitTrace_ELBO, PathELBO, JitPathELBO, DRegELBO])
@pytest.mark.parametrize("kind", ["batch norm", "act norm"])
def test_every_elbo_keeps_to_the_evidence(kind, elbo):
    guide = AutoFlow(target, KINDS[kind])
    guide.initialise()
    options = {"ignore_jit_warnings": True} if elbo in (JitTrace_ELBO, JitPathELBO) else {}
    loss = elbo(num_particles=64, vectorize_particles=True, **options)
    svi = SVI(target, guide, pyro.optim.Adam({"lr": 1e-2}), loss)
    losses = [svi.step() for _ in range(8)]
    assert all(abs(loss + LOG_Z) < 0.2 for loss in losses)


@pytest.mark.parametrize("elbo", [PathELBO, DRegELBO])
def test_scoring_twice_leaves_the_statistics_of_a_guide_written_by_hand(elbo):
    flow = pf.Flow([pf.transforms.BatchNorm(2), pf.transforms.ActNorm(2)])

    def guide():
        pyro.module("flow", flow)
        pyro.sample("x", flow())

    loss = elbo(num_particles=64, vectorize_particles=True, max_plate_nesting=0)
    SVI(target, guide, pyro.optim.Adam({"lr": 1e-9}), loss).step()
    assert flow.transform[0].moments.weight == 0
    assert not flow.transform[1].initialised
    flow().log_prob(torch.randn(9, 2))  # while a fit by maximum likelihood moves them
    assert flow.transform[0].moments.weight > 0


def test_modes_change_the_other_layers_only():
    guide = AutoFlow(target, normed(pf.transforms.BatchNorm))
    guide.setup()
    guide.eval()
    guide.train()
    norms = [m for m in guide.modules() if isinstance(m, pf.transforms.BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert guide.flow.training


def test_a_residual_flows_fixed_twin_leaves_its_power_iterations():
    flow = pf.families.residual(2, depth=1, hidden=(4,))
    density = lambda u: -u.square().sum(-1)  # noqa: E731
    objective = Bound(density, flow, dist.Normal(torch.zeros(2), 1.0).to_event(1), path_gradient=True)
    noise = torch.randn(5, 2)
    u, _ = objective.drawn(noise)
    before = {name: buffer.clone() for name, buffer in flow.named_buffers()}
    objective.held.inverse_and_log_det(u.detach())
    assert all(torch.equal(before[name], buffer) for name, buffer in flow.named_buffers())
