"""One log-joint: by hand, over unconstrained vectors, site by site, by importance, LOO and Pyro's ELBOs."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_median
from pyro.infer.autoguide.initialization import InitMessenger

import pyro_flows as pf
from pyro_flows.infer import LogDensity
from pyro_flows.infer.model.joint import Joint
from pyro_flows.infer.model.scoring import correct_scores
from pyro_flows.infer.model.structure import fixed_latents, or_zero

from .models import CASES, Y

DRAWS = 24


def packed(model):
    initial = InitMessenger(or_zero(init_to_median))(model)
    return fixed_latents(model, initial, (), {})[0]


def one(latents):
    return latents.constrain(torch.randn(latents.dim))[0]


def unconstrained_normal(latents, fixed=None):
    """A guide that is normal in unconstrained space, or has the given values."""

    def guide():
        u = pyro.sample(
            "_u", dist.Normal(torch.zeros(latents.dim), 1.0).to_event(1), infer={"is_auxiliary": True}
        )
        many = u.dim() > 1
        u = u.reshape(-1, latents.dim) if many else u
        values, log_det = latents.constrain(u, 3 if many else 0)
        for site in latents.sites:
            value = values[site.name] if fixed is None else fixed[site.name]
            density = -log_det if site is latents.sites[0] else torch.zeros_like(log_det)
            pyro.sample(site.name, dist.Delta(value, density, value.dim() - log_det.dim()))

    return guide


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


def by_hand(case, values):
    rows = len(next(iter(values.values())))
    return torch.stack([case.log_joint({n: v[i] for n, v in values.items()}) for i in range(rows)])


def expecting(case, failed=True):
    """Let through the warnings that the case is to give."""
    if case.way == "loop":
        return pytest.warns(UserWarning, match="does not run at many draws at once")
    if case.failing is not None and failed:
        return pytest.warns(
            UserWarning, match="the model raised at .* density zero; first .*(site|sites?) 'r'"
        )
    return warnings.catch_warnings()


def test_the_density_of_unconstrained_vectors(case):
    latents = packed(case.model)
    u = torch.randn(DRAWS, latents.dim)
    values, log_det = latents.constrain(u)
    density = LogDensity(case.model, latents, (), {})
    with expecting(case):
        found = density(u)
    torch.testing.assert_close(found, by_hand(case, values) + log_det, atol=1e-4, rtol=1e-4)
    assert density.how.way == case.way
    raising = 0 if case.failing is None else int(case.failing(values).sum())
    assert density.failed == raising
    assert raising == 0 or not found.isfinite().all()


def test_gradients_are_finite_and_right(case):
    latents = packed(case.model)
    u = torch.randn(DRAWS, latents.dim, requires_grad=True)
    with expecting(case):
        density = LogDensity(case.model, latents, (), {})
        found = density(u)
    kept = found.isfinite()
    assert kept.any()
    (gradient,) = torch.autograd.grad(found[kept].sum(), u, retain_graph=True)
    (whole,) = torch.autograd.grad(found.sum(), u)
    torch.testing.assert_close(whole[kept], gradient[kept])
    assert whole.isfinite().all()
    values, log_det = latents.constrain(u)
    rows = [i for i in range(DRAWS) if kept[i]]
    wanted = sum(case.log_joint({n: v[i] for n, v in values.items()}) for i in rows) + log_det[kept].sum()
    (expected,) = torch.autograd.grad(wanted, u)
    torch.testing.assert_close(gradient, expected, atol=1e-3, rtol=1e-3)


def test_importance_site_by_site(case):
    latents = packed(case.model)
    with expecting(case):
        result = pf.infer.importance(case.model, unconstrained_normal(latents), num_samples=DRAWS)
    e = result.evaluation
    torch.testing.assert_close(e.log_p.float(), by_hand(case, e.values), atol=1e-4, rtol=1e-4)
    assert e.how.way == case.way
    u, log_det = latents.unconstrain(e.values)
    density = LogDensity(case.model, latents, (), {}, runs=e.runs)
    torch.testing.assert_close(density(u) - log_det, e.log_p.float(), atol=1e-3, rtol=1e-4)
    proposal = dist.Normal(0.0, 1.0).log_prob(u).sum(-1) - log_det
    torch.testing.assert_close(e.log_q.float(), proposal, atol=1e-2, rtol=1e-3)


def test_pyros_elbos_can_count_the_same(case):
    latents = packed(case.model)
    if case.failing is not None or Joint.at(case.model, (), {}, one(latents)).layout.enumerated:
        pytest.skip("Trace_ELBO raises with the model, and draws discrete sites")
    for _ in range(5):
        values = one(latents)
        guide = poutine.trace(unconstrained_normal(latents, fixed=values)).get_trace()
        with pyro.validation_enabled(False):
            trace = poutine.trace(poutine.replay(case.model, trace=guide)).get_trace()
            trace.compute_log_prob()
            total = correct_scores(trace).log_prob_sum()
        torch.testing.assert_close(total, case.log_joint(values), atol=1e-4, rtol=1e-4)


def test_the_likelihood_of_discrete_mixtures_is_pointwise():
    case = CASES["mixture"]
    result = pf.infer.importance(case.model, unconstrained_normal(packed(case.model)), num_samples=100)
    e = result.evaluation
    weights = torch.stack([1 - e.values["share"], e.values["share"]], -1).log()
    each = dist.Normal(e.values["loc"][:, None, :], 1.0).log_prob(Y[:, None]) + weights[:, None]
    torch.testing.assert_close(e.log_likelihood["y"], each.logsumexp(-1), atol=1e-5, rtol=1e-4)
    assert e.plates["y"] == {-1: "row"}
    assert pf.diagnostics.loo(result).pointwise.shape == (4,)
    assert math.isfinite(result.log_evidence)
