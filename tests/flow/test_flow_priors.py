"""A trained flow as the prior of a model: NUTS, automatic guides, Predictive, conditioning, supports."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.distributions import constraints

import pyro_flows as pf

OBSERVED = torch.tensor([1.2, 0.9, 1.6])


@pytest.fixture(scope="module")
def prior():
    """A flow trained on a banana: b = a² / 2 + noise."""
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, 4000, generator=generator)
    flow = pf.Flow(pf.real_nvp(2, depth=4, hidden=(24, 24), activation=nn.SiLU))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = torch.stack([a, a.square() / 2 + 0.3 * noise], -1)
        pf.fit(flow, rows, epochs=12, learning_rate=5e-3, progress=False)
    return flow.requires_grad_(False)


def model_of(flow):
    def model():
        x = pyro.sample("x", flow())
        with pyro.plate("row", 3):
            pyro.sample("y", dist.Normal(x[..., 0], 0.5), obs=OBSERVED)

    return model


@pytest.fixture(scope="module")
def truth(prior):
    """Posterior mean and standard deviation by a million prior draws."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        x = prior().sample((1_000_000,))
    log_lik = dist.Normal(x[:, :1], 0.5).log_prob(OBSERVED).sum(-1)
    w = (log_lik - log_lik.logsumexp(0)).exp().unsqueeze(-1)
    mean = (w * x).sum(0)
    return mean, (w * (x - mean).square()).sum(0).sqrt(), float(log_lik.logsumexp(0)) - math.log(1e6)


@pytest.mark.slow
def test_under_nuts(prior, truth):
    mcmc = MCMC(
        NUTS(model_of(prior), jit_compile=False), num_samples=250, warmup_steps=80, disable_progbar=True
    )
    mcmc.run()
    x = mcmc.get_samples()["x"]
    mean, sd, _ = truth
    assert x.shape == (250, 2)
    assert ((x.mean(0) - mean).abs() / sd).max() < 0.4
    assert ((x.std(0) / sd).log().abs()).max() < 0.4


def test_under_a_flow_guide_and_a_normal_one(prior, truth):
    model, (mean, sd, log_evidence) = model_of(prior), truth
    for make, steps in ((pf.infer.AutoFlow, 150), (AutoNormal, 300)):
        pyro.clear_param_store()
        guide = make(model)
        svi = SVI(
            model,
            guide,
            pyro.optim.Adam({"lr": 0.01}),
            Trace_ELBO(num_particles=32, vectorize_particles=True),
        )
        for _ in range(steps):
            svi.step()
        result = pf.infer.importance(model, guide, num_samples=8000)
        assert result.elbo < log_evidence + 0.02
        if make is pf.infer.AutoFlow:
            assert result.log_evidence == pytest.approx(log_evidence, abs=0.15)
            means, sds = result.moments()
            assert ((means["x"] - mean).abs() / sd).max() < 0.2
            assert ((sds["x"] / sd).log().abs()).max() < 0.2
        assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_in_predictive_and_under_conditioning(prior):
    model = model_of(prior)
    drawn = Predictive(poutine.uncondition(model), num_samples=2000, parallel=True)()
    x = drawn["x"].reshape(2000, 2)
    assert float(x[:, 1].mean()) == pytest.approx(0.5, abs=0.12)
    assert drawn["y"].shape[0] == 2000
    value = torch.tensor([0.4, 0.2])
    trace = poutine.trace(poutine.condition(model, data={"x": value})).get_trace()
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], prior().log_prob(value.clone()))
    replayed = Predictive(model, posterior_samples={"x": value.expand(5, 2)})()
    assert replayed["y"].shape == (5, 3)


def test_in_a_plate_and_given_a_context():
    flow = pf.Flow(pf.real_nvp(2, context_dim=1))

    def model(context):
        with pyro.plate("row", len(context)):
            return pyro.sample("x", flow(context))

    trace = poutine.trace(model).get_trace(torch.randn(4, 1))
    trace.compute_log_prob()
    assert trace.nodes["x"]["value"].shape == (4, 2)
    assert trace.nodes["x"]["log_prob"].shape == (4,)


EXP, SIGMOID = dist.transforms.ExpTransform(), dist.transforms.SigmoidTransform()


def each(constraint):
    return constraints.independent(constraint, 1)


SUPPORTS = {
    "all": ([], constraints.real_vector),
    "positive": ([EXP], each(constraints.positive)),
    "below": ([EXP, dist.transforms.AffineTransform(1.0, -2.0)], each(constraints.less_than(1.0))),
    "below and back": (
        [EXP, dist.transforms.AffineTransform(1.0, -2.0), dist.transforms.AffineTransform(1.0, -1.0)],
        each(constraints.greater_than(0.0)),
    ),
    "interval": (
        [SIGMOID, dist.transforms.AffineTransform(-1.0, 3.0)],
        each(constraints.interval(-1.0, 2.0)),
    ),
    "intervals": (
        [SIGMOID, pf.transforms.reverse(3), dist.transforms.AffineTransform(torch.arange(3.0), -2.0)],
        each(constraints.interval(torch.arange(3.0) - 2, torch.arange(3.0))),
    ),
    "permuted": ([SIGMOID, pf.transforms.reverse(3)], each(constraints.unit_interval)),
    "simplex": ([dist.transforms.StickBreakingTransform()], constraints.simplex),
    "ordered": ([dist.transforms.OrderedTransform()], dist.constraints.ordered_vector),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_supports_are_known_and_reach_the_guide(name):
    parts, expected = SUPPORTS[name]
    flow = pf.Flow([pf.real_nvp(3, depth=2), *parts]).requires_grad_(False)
    support = flow().support
    assert support.event_dim == 1
    value = flow().sample((100,))
    assert support.check(value).all()
    for candidate in (value, value - 100, value + 100):
        torch.testing.assert_close(support.check(candidate), expected.check(candidate))

    def model():
        x = pyro.sample("x", flow())
        pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=torch.tensor(0.7))

    for make in (AutoNormal, pf.infer.AutoFlow):
        pyro.clear_param_store()
        guide = make(model)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
        assert all(math.isfinite(svi.step()) for _ in range(3))
        assert support.check(guide()["x"]).all()
    if name not in ("interval", "simplex"):  # of the others, `laws_pyro.py` has samplers enough
        return
    mcmc = MCMC(NUTS(model, max_tree_depth=2), num_samples=3, warmup_steps=2, disable_progbar=True)
    mcmc.run()
    assert support.check(mcmc.get_samples()["x"]).all()
