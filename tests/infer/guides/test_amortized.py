"""Amortised posteriors: scaling in subsampled plates, exact answers, any number of rows, simulations."""

import copy
import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from torch import nn

import pyro_flows as pf

Y = torch.tensor([0.3, -1.2, 2.0, 0.7, 1.5, -0.4])


def column(y):
    return y.unsqueeze(-1)


def exact_local_flow():
    """The posterior of z given y where z ~ N(0, 1), y ~ N(z, 1): N(y / 2, 1 / 2)."""
    scaling = pf.transforms.DiagonalScaling(1)
    shift = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        scaling.log_scale.fill_(-0.5 * math.log(2))
        shift.weight.fill_(0.5)
    return pf.Flow([scaling, pf.transforms.Monotone(pf.elementwise.Additive(), (1,), shift, context_dim=1)])


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_hand_written_guide_in_a_subsampled_plate_scales_as_it_should(size):
    flow = exact_local_flow()
    evidence = dist.Normal(0.0, math.sqrt(2)).log_prob(Y)

    def model(index):
        with pyro.plate("row", len(Y), subsample=index) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(z[..., 0], 1.0), obs=Y[rows])

    def guide(index):
        pyro.module("flow", flow)
        with pyro.plate("row", len(Y), subsample=index) as rows:
            pyro.sample("z", flow(column(Y[rows])))

    elbos = []
    for chosen in itertools.combinations(range(len(Y)), size):
        index = torch.tensor(chosen)
        elbos.append(-Trace_ELBO().loss(model, guide, index))
        assert elbos[-1] == pytest.approx(len(Y) / size * float(evidence[index].sum()), abs=1e-4)
    assert sum(elbos) / len(elbos) == pytest.approx(float(evidence.sum()), abs=1e-4)


def test_the_gradient_of_a_subsample_is_unbiased():
    flow = pf.Flow(pf.real_nvp(2, depth=2, hidden=(4,), context_dim=1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)

    def model(index):
        with pyro.plate("row", len(Y), subsample=index) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=Y[rows])

    def guide(index):
        pyro.module("flow", flow)
        with pyro.plate("row", len(Y), subsample=index) as rows:
            pyro.sample("z", flow(column(Y[rows])))

    def gradient(index):
        flow.zero_grad()
        torch.manual_seed(1)
        elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
        elbo.loss_and_grads(model, guide, index)
        return torch.cat([p.grad.flatten() for p in flow.parameters()])

    parts = [gradient(torch.tensor([2 * i, 2 * i + 1])) for i in range(3)]
    whole = gradient(torch.arange(6))
    error = (sum(parts) / 3 - whole).norm() / whole.norm()
    assert error < 0.1


def hierarchy(y, batch=None):
    """A mean, a latent variable for each row: y ~ N(0, 2 I + 1 1ᵀ)."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample_size=batch) as rows:
        z = pyro.sample("z", dist.Normal(mean, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y[rows])


def evidence(y):
    return float(dist.MultivariateNormal(torch.zeros(len(y)), 2 * torch.eye(len(y)) + 1).log_prob(y))


def trained(guide, model, *args, steps=400, lr=0.02, particles=16):
    optimiser = pyro.optim.ClippedAdam({"lr": lr, "lrd": 0.02 ** (1 / steps)})
    svi = SVI(model, guide, optimiser, Trace_ELBO(num_particles=particles, vectorize_particles=True))
    for _ in range(steps):
        svi.step(*args)
    return guide


def amortised(model=hierarchy, **options):
    encoder = nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 4), nn.Tanh())
    return pf.infer.AutoAmortized(model, encoder, rows=lambda y, *_: y, **options)


def test_global_and_local_variables_reach_the_evidence_through_subsamples():
    guide = trained(amortised(), hierarchy, Y, None)
    result = pf.infer.importance(hierarchy, guide, Y, num_samples=4000)
    assert result.log_evidence == pytest.approx(evidence(Y), abs=0.02)
    assert result.gap < 0.05
    means, sds = result.moments(corrected=False)
    precision = 1 + len(Y) / 2
    assert means["mean"] == pytest.approx(float(Y.sum() / 2 / precision), abs=0.05)
    assert sds["mean"] == pytest.approx(precision**-0.5, rel=0.1)
    given = (Y + means["mean"]) / 2
    torch.testing.assert_close(means["z"].float(), given.float(), atol=0.1, rtol=0)
    torch.testing.assert_close(sds["z"], (0.5 + sds["mean"] ** 2 / 4).sqrt().expand(6), atol=0.06, rtol=0)


def test_subsamples_and_rows_of_any_number():
    guide = amortised()
    svi = SVI(hierarchy, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(Y, 2))
    assert guide(Y, 2)["z"].shape == (2,)
    longer = torch.randn(11)
    assert guide(longer, 2)["z"].shape == (2,)
    assert math.isfinite(svi.step(longer, 2))
    drawn = guide.sample_rows(torch.randn(7), 50)
    assert drawn["z"].shape == (50, 7)

    whole = amortised(
        create_plates=lambda y, batch=None: pyro.plate("row", len(y), subsample_size=batch, dim=-1)
    )
    assert whole(Y, 2)["z"].shape == (2,)
    assert whole(Y)["z"].shape == (6,)
    assert whole(longer, 3)["z"].shape == (3,)


def test_a_subsample_estimates_the_whole_bound():
    guide = amortised(
        create_plates=lambda y, batch=None: pyro.plate("row", len(y), subsample_size=batch, dim=-1)
    )
    guide(Y)
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True)
    whole = -elbo.loss(hierarchy, guide, Y)
    parts = [-elbo.loss(hierarchy, guide, Y, 3) for _ in range(30)]
    spread = torch.tensor(parts).std() / math.sqrt(len(parts))
    assert sum(parts) / len(parts) == pytest.approx(whole, abs=4 * float(spread) + 0.1)


def test_constrained_and_several_local_sites():
    """Rate and level of each row: y ~ Poisson(rate), x ~ N(level, 1), so the evidence factorises."""
    counts, xs = torch.tensor([0.0, 3.0, 1.0, 7.0]), torch.tensor([0.5, -1.0, 2.0, 0.1])

    def model(rows):
        with pyro.plate("row", len(rows)) as index:
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("count", dist.Poisson(rate), obs=rows[index, 0])
            pyro.sample("x", dist.Normal(level.sum(-1), 1.0), obs=rows[index, 1])

    rows = torch.stack([counts, xs], -1)
    guide = pf.infer.AutoAmortized(model, nn.Linear(2, 4), rows=lambda rows: rows)
    trained(guide, model, rows, steps=250)
    assert guide.globals is None
    result = pf.infer.importance(model, guide, rows, num_samples=8000)
    poisson = dist.GammaPoisson(2.0, 1.0).log_prob(counts).sum()
    normal = dist.Normal(0.0, math.sqrt(3)).log_prob(xs).sum()
    assert result.log_evidence == pytest.approx(float(poisson + normal), abs=0.03)
    assert result.gap < 0.5
    assert result.draws["level"].shape == (8000, 4, 2)
    assert float(result.draws["rate"].min()) > 0
    assert guide.sample_rows(rows, 3)["level"].shape == (3, 4, 2)


def mixture(y, batch=None):
    """Each row's mean is drawn around −1 or 1."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("row", len(y), subsample_size=batch) as rows:
        side = pyro.sample("side", dist.Bernoulli(share), infer={"enumerate": "parallel"})
        z = pyro.sample("z", dist.Normal(2 * side - 1, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y[rows])


def test_discrete_local_sites_are_summed_out():
    guide = amortised(
        mixture, create_plates=lambda y, batch=None: pyro.plate("row", len(y), subsample_size=batch, dim=-1)
    )
    elbo = TraceEnum_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(mixture, guide, pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.97}), elbo)
    for step in range(80):
        svi.step(Y, 3 if step < 20 else None)
    result = pf.infer.importance(mixture, guide, Y, num_samples=4000)
    shares = (torch.arange(1000.0) + 0.5) / 1000
    left, right = (dist.Normal(mean, math.sqrt(2)).log_prob(Y).exp() for mean in (-1.0, 1.0))
    rows = shares[:, None] * right / (shares[:, None] * right + (1 - shares[:, None]) * left)
    density = dist.Beta(2.0, 2.0).log_prob(shares)
    density = density + (shares[:, None] * right + (1 - shares[:, None]) * left).log().sum(-1)
    assert result.log_evidence == pytest.approx(float(density.exp().mean().log()), abs=0.1)
    weights = result.smoothed.log_weights.exp()
    sides = (weights[:, None] * result.discrete["side"]).sum(0)
    torch.testing.assert_close(sides, (density.softmax(0)[:, None] * rows).sum(0).double(), atol=0.08, rtol=0)


def test_saving_copying_and_names():
    guide = amortised()
    guide(Y)
    other = amortised()
    with pytest.raises(ValueError, match="expected a guide that is set up"):
        other.load_state_dict(guide.state_dict())
    other.setup(Y)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.1
    other.load_state_dict(guide.state_dict())
    torch.manual_seed(0)
    first = guide.sample_rows(Y, 4)["z"]
    torch.manual_seed(0)
    assert other.sample_rows(Y, 4)["z"].equal(first)
    twin = copy.deepcopy(guide)
    SVI(hierarchy, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(Y)
    torch.manual_seed(0)
    assert twin.sample_rows(Y, 4)["z"].equal(first)
    assert not any(key.startswith("_parts") for key in guide.state_dict())
    keys = set(pyro.get_param_store())
    other(Y)
    assert not keys & (set(pyro.get_param_store()) - keys)
    assert len(pyro.get_param_store()) > len(keys)


def test_what_does_not_fit_is_refused():
    def none(y):
        pyro.sample("mean", dist.Normal(0.0, 1.0))

    def two_plates(y):
        with pyro.plate("a", 2, dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("b", 3, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def discrete(y):
        with pyro.plate("row", len(y)):
            pyro.sample("k", dist.Bernoulli(0.5))

    for model, message in (
        (none, "expected a model with latent sites inside a plate"),
        (two_plates, "expected local sites in one and the same plate"),
        (discrete, "expected continuous latent sites; got the discrete 'k'"),
    ):
        with pytest.raises(ValueError, match=message):
            amortised(model)(Y)
    with pytest.raises(ValueError, match=r"expected features of shape \(batch, k\); got \(2,\)"):
        pf.infer.AutoAmortized(hierarchy, nn.Identity(), rows=lambda y, *_: y)(Y)
    with pytest.raises(ValueError, match="expected a transform with a context of length 5; got None"):
        amortised(transform=lambda dim, context_dim: pf.nsf(dim, autoregressive=True))(Y)


# --- simulation-based inference ---


def simulate(n, generator):
    """Two parameters, five observations: a linear regression, whose posterior is known."""
    theta = torch.randn(n, 2, generator=generator)
    design = torch.stack([torch.ones(5), torch.linspace(-1, 1, 5)])
    return theta, theta @ design + torch.randn(n, 5, generator=generator), design


def test_neural_posterior_estimation_is_calibrated():
    theta, x, design = simulate(6000, torch.Generator().manual_seed(0))
    flow = pf.Flow(pf.real_nvp(2, depth=4, hidden=(32, 32), context_dim=5, activation=nn.SiLU))
    pf.fit(flow, theta, context=x, epochs=25, batch_size=256, progress=False)

    def model():
        theta = pyro.sample("theta", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(theta @ design, 1.0).to_event(1), obs=torch.zeros(5))

    def posterior(model, data):
        return {"theta": flow(data["x"]).sample((99,))}

    found = pf.diagnostics.calibrate(model, posterior, num_simulations=200, progress=False)
    assert found.verdicts(0.001) == {"theta[0]": "calibrated", "theta[1]": "calibrated"}
    covariance = torch.linalg.inv(torch.eye(2) + design @ design.T)
    drawn = flow(x[0]).sample((8000,))
    sds = covariance.diagonal().sqrt()
    assert ((drawn.mean(0) - covariance @ design @ x[0]).abs() / sds).max() < 0.25
    torch.testing.assert_close(drawn.std(0), sds, rtol=0.12, atol=0)
