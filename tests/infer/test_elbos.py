import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, RenyiELBO, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import pyro_flows as pf
from pyro_flows.infer import AutoFlow, DRegELBO, JitPathELBO, PathELBO

Y = torch.tensor([1.0, 2.0, 4.0])
VARIANCE = 1 / (1 / 4 + 3)
LOG_Z = dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 4 * torch.ones(3, 3)).log_prob(Y).item()

jit = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def model():
    x = pyro.sample("x", dist.Normal(0.0, 2.0))
    with pyro.plate("data", 3):
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y)


def exact_guide(transform=pf.transforms.diagonal_scaling):
    """A flow guide that is the posterior, and whose parameters can still move."""
    guide = AutoFlow(model, transform)
    guide.setup()
    guide.initialised.fill_(True)
    guide.whitening.place(torch.tensor([Y.sum() * VARIANCE]), torch.tensor([[VARIANCE**0.5]]))
    return guide


def gradient(elbo, model, guide, *args):
    parameters = list(guide.parameters())
    for parameter in parameters:
        parameter.grad = None
    loss = elbo.loss_and_grads(model, guide, *args)
    return loss, torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])


@jit
@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("kind", [PathELBO, JitPathELBO, DRegELBO])
def test_no_gradient_at_the_optimum(kind, vectorize):
    guide = exact_guide()
    options = {"ignore_jit_warnings": True} if kind is JitPathELBO else {}
    elbo = kind(num_particles=4, vectorize_particles=vectorize, **options)
    loss, found = gradient(elbo, model, guide)
    assert loss == pytest.approx(-LOG_Z, abs=1e-4)
    assert found.abs().max() < 1e-4
    _, usual = gradient(Trace_ELBO(num_particles=4, vectorize_particles=vectorize), model, guide)
    assert usual.abs().max() > 1e-2


@jit
@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("kind", [PathELBO, JitPathELBO])
def test_the_gradient_is_right_in_the_mean(kind, vectorize):
    guide = exact_guide()
    with torch.no_grad():
        guide.whitening.shift += 0.3
        guide.whitening.log_diagonal += 0.2
    options = {"ignore_jit_warnings": True} if kind is JitPathELBO else {}
    elbo = kind(num_particles=4000 if vectorize else 6, vectorize_particles=vectorize, **options)
    gradient(elbo, model, guide)
    # KL of N(0.3, e^0.4) to N(0, 1), in the posterior's own units: m, and e^2s − 1
    tolerance = 0.1 if vectorize else 1.5
    assert guide.whitening.shift.grad.item() == pytest.approx(0.3, abs=tolerance)
    assert guide.whitening.log_diagonal.grad.item() == pytest.approx(math.exp(0.4) - 1, abs=tolerance)


def schools():
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.LogNormal(1.0, 1.0))
    with pyro.plate("schools", 4):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=torch.arange(4.0))


def flow_in_a_plate():
    flow = pf.Flow(pf.real_nvp(2, context_dim=1, depth=2, hidden=(8,)))
    log_scale = torch.nn.Parameter(torch.zeros(()))

    def model(rows):
        with pyro.plate("rows", 6, subsample_size=3) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=rows[index])

    def guide(rows):
        pyro.module("flow", flow)
        with pyro.plate("rows", 6, subsample_size=3) as index:
            pyro.sample("z", flow(rows[index][:, None]))

    guide.parameters = flow.parameters
    return model, guide, log_scale


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("kind", [PathELBO, DRegELBO])
def test_any_guide_any_plates(kind, vectorize):
    elbo = kind(num_particles=2, vectorize_particles=vectorize)
    guide = AutoNormal(schools)
    guide()
    assert gradient(elbo, schools, guide)[1].isfinite().all()
    local, amortised, _ = flow_in_a_plate()
    loss, found = gradient(elbo, local, amortised, torch.randn(6))
    assert math.isfinite(loss)
    assert found.isfinite().all()
    assert found.abs().max() > 0


def test_hierarchical_guides_keep_the_path_through_earlier_sites():
    def target():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Normal(a, 1.0))

    def guide():
        loc = pyro.param("loc", torch.tensor(0.5))
        slope = pyro.param("slope", torch.tensor(0.5))
        a = pyro.sample("a", dist.Normal(loc, 1.0))
        pyro.sample("b", dist.Normal(slope * a, 1.0))

    def mean_gradient(elbo):
        guide()
        loss = elbo.differentiable_loss(target, guide)
        parameters = [pyro.param(name).unconstrained() for name in ("loc", "slope")]
        return torch.stack(torch.autograd.grad(loss, parameters))

    # KL = loc²/2 + (slope − 1)² E[a²] / 2 with E[a²] = 1 + loc²
    wanted = torch.tensor([0.5 + 0.25 * 0.5, -0.5 * 1.25])
    found = mean_gradient(PathELBO(num_particles=20_000, vectorize_particles=True))
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


def variance(elbo, guide, repeats=60):
    return torch.stack([gradient(elbo, model, guide)[1] for _ in range(repeats)]).var(0).sum().item()


def test_less_variance_than_the_usual_estimator():
    guide = exact_guide()
    with torch.no_grad():
        guide.whitening.shift += 0.1
    usual, path = (
        variance(kind(num_particles=4, vectorize_particles=True), guide) for kind in (Trace_ELBO, PathELBO)
    )
    assert path < 0.1 * usual
    renyi = RenyiELBO(alpha=0, num_particles=64, vectorize_particles=True)
    doubly = DRegELBO(num_particles=64, vectorize_particles=True)
    assert variance(doubly, guide) < 0.1 * variance(renyi, guide)


def test_the_weighted_bound_tightens_and_its_gradients_are_right():
    guide = exact_guide()
    with torch.no_grad():
        guide.whitening.shift += 0.7
    bounds = [-DRegELBO(num_particles=k, vectorize_particles=True).loss(model, guide) for k in (5000,)]
    assert bounds[0] == pytest.approx(LOG_Z, abs=0.05)
    loose = [-DRegELBO(num_particles=2).loss(model, guide) for _ in range(150)]
    assert LOG_Z - 0.245 < sum(loose) / 150 < LOG_Z - 0.01
    # against the plain estimator, in the mean
    renyi, doubly = (
        torch.stack(
            [
                gradient(kind(num_particles=8, vectorize_particles=True, **options), model, guide)[1]
                for _ in range(200)
            ]
        )
        for kind, options in ((RenyiELBO, {"alpha": 0}), (DRegELBO, {}))
    )
    error = 4 * (renyi.var(0) / 200 + doubly.var(0) / 200).sqrt() + 1e-4
    assert bool(((renyi.mean(0) - doubly.mean(0)).abs() < error).all())


def test_the_models_parameters_follow_the_weighted_bound():
    def learned():
        scale = pyro.param("scale", torch.tensor(1.5))
        x = pyro.sample("x", dist.Normal(0.0, 2.0))
        with pyro.plate("data", 3):
            pyro.sample("y", dist.Normal(x, scale), obs=Y)

    guide = exact_guide()

    def of_scale(elbo):
        learned()
        pyro.param("scale").unconstrained().grad = None
        elbo.loss_and_grads(learned, guide)
        return pyro.param("scale").unconstrained().grad.item()

    doubly = [of_scale(DRegELBO(num_particles=8, vectorize_particles=True)) for _ in range(60)]
    renyi = [of_scale(RenyiELBO(alpha=0, num_particles=8, vectorize_particles=True)) for _ in range(60)]
    a, b = torch.tensor(doubly), torch.tensor(renyi)
    assert abs(a.mean() - b.mean()) < 4 * ((a.var() + b.var()) / 60).sqrt()


def test_one_bound_a_row_whose_scale_stands_outside():
    z = torch.tensor([0.5, -1.0, 2.0, 0.0])

    def rows(scale=1.0):
        with pyro.plate("rows", 4), pyro.poutine.scale(scale=scale):
            x = pyro.sample("x", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(x, 1.0), obs=z)

    def guide(scale=1.0):
        with pyro.plate("rows", 4), pyro.poutine.scale(scale=scale):
            pyro.sample("x", dist.Normal(0.0, 1.0))

    elbo = DRegELBO(num_particles=20_000, vectorize_particles=True)
    wanted = dist.Normal(0.0, math.sqrt(2)).log_prob(z).sum().item()
    assert elbo.loss(rows, guide) == pytest.approx(-wanted, abs=0.1)
    assert elbo.loss(rows, guide, 5.0) == pytest.approx(-5 * wanted, abs=0.5)


def test_refuses_sites_that_are_not_reparametrised():
    def guide():
        pyro.sample("x", dist.Normal(0.0, 1.0).has_rsample_(False))

    with pytest.raises(NotImplementedError, match="reparametrised"):
        DRegELBO(num_particles=2).loss(model, guide)
    assert math.isfinite(PathELBO().loss(model, guide))


@jit
def test_steps_under_svi_beat_the_usual_ones():
    losses = {}
    for kind in (Trace_ELBO, PathELBO, JitTrace_ELBO, JitPathELBO):
        guide = exact_guide()
        options = {"ignore_jit_warnings": True} if kind in (JitTrace_ELBO, JitPathELBO) else {}
        elbo = kind(num_particles=8, vectorize_particles=True, **options)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo)
        for _ in range(30):
            svi.step()
        losses[kind] = Trace_ELBO(num_particles=2000, vectorize_particles=True).loss(model, guide) + LOG_Z
    assert losses[PathELBO] < 1e-3
    assert losses[JitPathELBO] < 1e-3
