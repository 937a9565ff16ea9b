"""Posteriors of known moments: posteriordb's in Stan's own parametrisations, and some in closed form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch

SCHOOLS = "eight_schools-eight_schools_noncentered"


@dataclass
class Problem:
    """A model, scalars of its latent variables, and what is known of these.

    truth: for each scalar its mean and standard deviation.
    """

    model: Callable
    scalars: Callable = dict
    truth: dict[str, tuple[float, float]] = field(default_factory=dict)
    log_evidence: float | None = None


def _record(folder: Path, name: str) -> tuple[dict, dict[str, tuple[float, float]]]:
    record = json.loads((folder / f"{name}.json").read_text())
    return record["data"], {key: (r["mean"], r["sd"]) for key, r in record["reference"].items()}


def _floats(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float)


def schools(folder: Path, *, centred: bool) -> Problem:
    data, truth = _record(folder, SCHOOLS)
    y, sigma = _floats(data["y"]), _floats(data["sigma"])

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", 8):
            if centred:
                theta = pyro.sample("theta", dist.Normal(mu, tau))
            else:
                theta = mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(theta, sigma), obs=y)

    def scalars(v):
        theta = v["theta"] if centred else v["mu"][..., None] + v["tau"][..., None] * v["eta"]
        return {f"theta[{i + 1}]": theta[..., i] for i in range(8)} | {"mu": v["mu"], "tau": v["tau"]}

    return Problem(model, scalars, truth, -31.312)


def garch(folder: Path) -> Problem:
    """Flat priors on mu, alpha0 > 0, alpha1 in (0, 1) and beta1 in (0, 1 − alpha1)."""
    data, truth = _record(folder, "garch-garch11")
    y = _floats(data["y"])

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0).mask(False))
        alpha0 = pyro.sample("alpha0", dist.HalfNormal(10.0).mask(False))
        alpha1 = pyro.sample("alpha1", dist.Uniform(0.0, 1.0))
        ratio = pyro.sample("ratio", dist.Uniform(0.0, 1.0))
        pyro.factor("beta1_is_flat", torch.log1p(-alpha1))
        beta1 = (1 - alpha1) * ratio
        squares = (y - mu[..., None]) ** 2
        variance = torch.full_like(mu, data["sigma1"] ** 2)
        variances = [variance]
        for innovation in (alpha0[..., None] + alpha1[..., None] * squares[..., :-1]).unbind(-1):
            variance = torch.addcmul(innovation, beta1, variance)
            variances.append(variance)
        scale = torch.stack(variances, -1).sqrt()
        pyro.sample("y", dist.Normal(mu[..., None], scale).to_event(1), obs=y)

    def scalars(v):
        return {name: v[name] for name in ("mu", "alpha0", "alpha1")} | {
            "beta1": (1 - v["alpha1"]) * v["ratio"]
        }

    return Problem(model, scalars, truth)


def kidscore(folder: Path) -> Problem:
    data, truth = _record(folder, "kidiq-kidscore_interaction")
    y, high_school, iq = (_floats(data[name]) for name in ("kid_score", "mom_hs", "mom_iq"))
    x = torch.stack([torch.ones_like(y), high_school, iq, high_school * iq], -1)

    def model():
        beta = pyro.sample("beta", dist.Normal(torch.zeros(4), 10.0).to_event(1).mask(False))
        sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
        pyro.sample("y", dist.Normal(beta @ x.T, sigma[..., None]).to_event(1), obs=y)

    def scalars(v):
        return {f"beta[{i + 1}]": v["beta"][..., i] for i in range(4)} | {"sigma": v["sigma"]}

    return Problem(model, scalars, truth)


def funnel(dim: int = 10) -> Problem:
    def model():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        x = dist.Normal(0.0, (v / 2).exp()[..., None].expand(*v.shape, dim - 1))
        pyro.sample("x", x.to_event(1))

    # The variance of x rests on draws that hardly ever come: x is looked at on a logarithmic scale.
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    weights = dist.Normal(0.0, 1.0).log_prob(grid).softmax(0)
    squares = ((1.5 * grid).exp()[:, None] * grid).asinh().square()
    spread = float((weights[:, None] * weights * squares).sum().sqrt())

    def scalars(values):
        return {"v": values["v"]} | {f"asinh x[{i + 1}]": values["x"][..., i].asinh() for i in range(dim - 1)}

    truth = {"v": (0.0, 3.0)} | {f"asinh x[{i + 1}]": (0.0, spread) for i in range(dim - 1)}
    return Problem(model, scalars, truth, 0.0)


def logistic_regression() -> Problem:
    generator = torch.Generator().manual_seed(3)
    x, beta = torch.randn(60, 8, generator=generator), torch.randn(8, generator=generator) * 2
    y = (torch.rand(60, generator=generator) < torch.sigmoid(x @ beta)).float()

    def model():
        w = pyro.sample("w", dist.Normal(torch.zeros(8), 3.0).to_event(1))
        a = pyro.sample("a", dist.Normal(0.0, 5.0))
        pyro.sample("y", dist.Bernoulli(logits=w @ x.T + a[..., None]).to_event(1), obs=y)

    return Problem(model)


def hierarchical_normal(groups: int = 50, *, centred: bool) -> Problem:
    generator = torch.Generator().manual_seed(4)
    y = 1 + 0.5 * torch.randn(groups, generator=generator)
    y = y + torch.randn(groups, generator=generator)

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfNormal(2.0))
        with pyro.plate("groups", groups):
            if centred:
                theta = pyro.sample("theta", dist.Normal(mu, tau))
            else:
                theta = mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(theta, 1.0), obs=y)

    tau = torch.linspace(-9, 2.5, 4000, dtype=torch.float64).exp()
    variance, rows = 1 + tau**2, y.double()
    precision = 1 / 25 + groups / variance
    log_density = (
        -0.5 * groups * (2 * math.pi * variance).log()
        - 0.5 * rows.square().sum() / variance
        + 0.5 * (rows.sum() / variance) ** 2 / precision
        - 0.5 * (25 * precision).log()
    )
    log_prior = math.log(2) + dist.Normal(0.0, 2.0).log_prob(tau)
    log_z = torch.logsumexp(log_density + log_prior + torch.gradient(tau)[0].log(), 0)
    return Problem(model, log_evidence=float(log_z))


def banana() -> Problem:
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(2 * a**2, 0.2))
        pyro.sample("c", dist.Normal(b / 2, 0.5))

    return Problem(model, log_evidence=0.0)


def student() -> Problem:
    def model():
        pyro.sample("x", dist.StudentT(4.0, torch.zeros(6), torch.logspace(-2, 2, 6)).to_event(1))

    return Problem(model, log_evidence=0.0)


def two_hills() -> Problem:
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        hills = dist.Normal(means, 1.0).log_prob(x[..., None, :]).sum(-1).logsumexp(-1) - math.log(2)
        pyro.factor("hills", hills - dist.Normal(0.0, 3.0).log_prob(x).sum(-1))

    return Problem(model, log_evidence=0.0)


def gamma() -> Problem:
    return Problem(lambda: pyro.sample("rate", dist.Gamma(0.7, 1.0)), log_evidence=0.0)


def simplex() -> Problem:
    def model():
        pyro.sample("shares", dist.Dirichlet(torch.tensor([0.5, 1.0, 2.0, 5.0])))
        pyro.sample("share", dist.Beta(0.5, 3.0))

    return Problem(model, log_evidence=0.0)


def covariance() -> Problem:
    generator = torch.Generator().manual_seed(5)
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 2.0]])
    data = torch.randn(40, 3, generator=generator) @ factor.T

    def model():
        scale = pyro.sample("scale", dist.HalfNormal(torch.full((3,), 3.0)).to_event(1))
        lower = scale[..., None] * pyro.sample("factor", dist.LKJCholesky(3, 1.0))
        rows = dist.MultivariateNormal(torch.zeros(3), scale_tril=lower[..., None, :, :]).expand(
            (*lower.shape[:-2], 40)
        )
        pyro.sample("x", rows.to_event(1), obs=data)

    return Problem(model)


def problems(folder: Path | None, *, more: bool) -> dict[str, Problem]:
    """Return the posteriors by name: the benchmark's, or the others that the defaults were checked on."""
    if more:
        return {
            "logistic regression": logistic_regression(),
            "50 groups, centred": hierarchical_normal(centred=True),
            "50 groups, non-centred": hierarchical_normal(centred=False),
            "banana": banana(),
            "Student's t": student(),
            "two hills": two_hills(),
            "gamma": gamma(),
            "simplex": simplex(),
            "covariance": covariance(),
        }
    found = {}
    if folder is not None:
        found = {
            "eight schools, centred": schools(folder, centred=True),
            "eight schools, non-centred": schools(folder, centred=False),
            "GARCH(1,1)": garch(folder),
            "kidscore": kidscore(folder),
        }
    return found | {"funnel": funnel()}
