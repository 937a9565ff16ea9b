"""What `chooser.py` measures: data, the families that suit them, and how a trained one is scored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from flow_mcmc import schools
from mixed_tables import gaussian, split
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

import pyro_flows as pf
from pyro_flows.cli.demo import redbook

Family = Callable[[], Any]


@dataclass(frozen=True)
class Density:
    """Rows, or pairs of rows and contexts, and the families to train on them."""

    heading: str
    about: str
    families: Mapping[str, Family]
    train: Tensor
    score: Callable[[pf.Flow], float]
    context: Tensor | None = None
    test_context: Tensor | None = None
    batch_size: int = 256
    digits: str = ".3f"
    patience: float = 1.0
    """How much longer than others these families train."""

    @property
    def names(self) -> list[str]:
        return list(self.families)


@dataclass(frozen=True)
class Mixed:
    """A data frame and the families of its normal scores."""

    heading: str
    about: str
    families: Mapping[str, Any]
    train: Any
    test: Any
    digits: str = ".2f"

    @property
    def names(self) -> list[str]:
        return list(self.families)


@dataclass(frozen=True)
class Fitted:
    """A guide after its training: seconds and steps of that, and what draws from it."""

    guide: Any
    seconds: float
    steps: int
    sample: Callable[[int], Any]


@dataclass(frozen=True)
class Posterior:
    """A model and what fits a guide to it when called with seconds and a seed."""

    heading: str
    about: str
    model: Callable[[], Any]
    guides: Mapping[str, Callable[[float, int], Fitted]]
    digits: str = ".3f"

    @property
    def names(self) -> list[str]:
        return list(self.guides)


def plane() -> Density:
    torch.manual_seed(7)
    truth = pf.datasets.TwoMoons(noise=0.1)
    train, test = truth.sample((20_000,)), truth.sample((5_000,))
    entropy = truth.log_prob(test)

    def kl(flow: pf.Flow) -> float:
        for part in flow.modules():
            if isinstance(part, pf.transforms.NeuralODE):
                part.solver = pf.ode.Adaptive(rtol=1e-5, atol=1e-5)
        return float((entropy - flow().log_prob(test)).double().mean())

    families: dict[str, Family] = {
        "nice": lambda: pf.nice(2),
        "real_nvp": lambda: pf.real_nvp(2),
        "maf": lambda: pf.maf(2),
        "nsf": lambda: pf.nsf(2),
        "nsf, autoregressive": lambda: pf.nsf(2, autoregressive=True),
        "naf": lambda: pf.naf(2),
        "planar": lambda: pf.planar(2),
        "radial": lambda: pf.radial(2),
        "residual": lambda: pf.residual(2),
        "ffjord, 8 steps": lambda: pf.ffjord(2, solver=pf.ode.RungeKutta(8)),
        "ffjord, flow matching": lambda: pf.ffjord(2),
    }
    about = "KL to two moons of noise 0.1, in nats, on 5,000 rows; 20,000 training rows. Lower is better."
    return Density("KL", about, families, train, kl)


def table() -> Density:
    from sklearn.datasets import load_breast_cancer

    rows = torch.tensor(load_breast_cancer().data)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    rows = (rows - rows[:400].mean(0)) / rows[:400].std(0)
    train, test, dim = rows[:400], rows[400:], rows.shape[1]
    families: dict[str, Family] = {
        "Gaussian": lambda: gaussian(dim),
        "nice": lambda: pf.nice(dim),
        "real_nvp": lambda: pf.real_nvp(dim),
        "maf": lambda: pf.maf(dim),
        "nsf": lambda: pf.nsf(dim),
        "nsf, autoregressive": lambda: pf.nsf(dim, autoregressive=True),
        "planar": lambda: pf.planar(dim),
    }
    about = (
        "Mean log-density, in nats, of 169 held-out rows of scikit-learn's breast cancer table: "
        "30 standardised columns, 400 training rows. Higher is better."
    )
    score = lambda flow: float(flow().log_prob(test).mean())  # noqa: E731
    return Density("log-density", about, families, train, score, batch_size=64, digits=".2f")


def mixed() -> Mixed:
    train, test = split(redbook(), seed=0)
    families = {
        "Gaussian copula": gaussian,
        "column_by_column, the default": pf.tables.column_by_column,
        "real_nvp": pf.real_nvp,
        "maf": pf.maf,
        "nsf": pf.nsf,
    }
    about = (
        "Mean log-probability, in nats, of 1,273 held-out rows of Fair's survey (statsmodels): nine columns "
        "of levels, categories and a rate; 5,093 training rows. Higher is better."
    )
    return Mixed("log-probability", about, families, train, test)


def images() -> Density:
    from sklearn.datasets import load_digits

    pixels = torch.tensor(load_digits().images, dtype=torch.float32)[:, None]
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))]
    train, test, shape = pixels[:1437], pixels[1437:], (1, 8, 8)

    def whole(transform: pf.FlowTransform) -> list[pf.FlowTransform]:
        flat = [] if transform.codomain.event_dim == 3 else [pf.transforms.Reshape((64,), shape)]
        pixel_values = pf.transforms.LogitPixels(1e-6, levels=17)
        return [transform, *flat, pixel_values, pf.transforms.Dequantize(levels=17)]

    families: dict[str, Family] = {
        "real_nvp, of 64 numbers": lambda: whole(pf.real_nvp(64, hidden=(128, 128))),
        "maf, of 64 numbers": lambda: whole(pf.maf(64, hidden=(128, 128))),
        "nsf, of 64 numbers": lambda: whole(pf.nsf(64, hidden=(128, 128))),
        "real_nvp_image, 2 scales, width 8": lambda: whole(pf.real_nvp_image(shape, scales=2, width=8)),
        "glow, depth 4, width 32": lambda: whole(pf.glow(shape, depth=4, width=32)),
    }
    about = (
        "Bits per dimension of 360 held-out digits of scikit-learn, 8×8 pixels of 17 levels; 1,437 training "
        "images. Lower is better."
    )
    bits = lambda flow: float(pf.bits_per_dim(flow, test, draws=5).mean())  # noqa: E731
    return Density("bits/dim", about, families, train, bits, batch_size=100, patience=4.0)


def simulate(theta: Tensor) -> Tensor:
    """Eight noisy observations of θ₁ exp(−θ₂² t): two modes, since the sign of θ₂ leaves no trace."""
    t = torch.linspace(0.1, 2.0, 8)
    mean = theta[:, :1] * torch.exp(-theta[:, 1:].square() * t)
    return mean + 0.1 * torch.randn_like(mean)


def amortized() -> Density:
    torch.manual_seed(7)
    theta = torch.randn(21_000, 2)
    x = simulate(theta)
    train, test = theta[:20_000], theta[20_000:]
    given = {"context_dim": 8}
    families: dict[str, Family] = {
        "real_nvp": lambda: pf.real_nvp(2, **given),
        "maf": lambda: pf.maf(2, **given),
        "nsf": lambda: pf.nsf(2, **given),
        "nsf, autoregressive": lambda: pf.nsf(2, autoregressive=True, **given),
        "naf": lambda: pf.naf(2, **given),
    }
    about = (
        "Mean log-density, in nats, of the true parameters of 1,000 new simulations given their data: two "
        "parameters, eight observations, posteriors of two modes; 20,000 training pairs. Higher is better."
    )
    score = lambda flow: float(flow(x[20_000:]).log_prob(test).mean())  # noqa: E731
    return Density("log-density", about, families, train, score, x[:20_000], x[20_000:])


def posterior() -> Posterior:
    """Eight schools in the centred form, whose funnel no normal distribution follows."""

    def by_svi(make: Callable[..., Any], seconds: float, seed: int) -> Fitted:
        pyro.set_rng_seed(seed)
        pyro.clear_param_store()
        guide = make(schools)
        elbo = Trace_ELBO(num_particles=64, vectorize_particles=True)
        steps = 1000
        optimizer = pyro.optim.ClippedAdam({"lr": 1e-2, "lrd": 0.01 ** (1 / steps)})
        svi = SVI(schools, guide, optimizer, elbo)
        begin = time.process_time()
        for _ in range(steps):
            svi.step()
        spent = time.process_time() - begin
        vectorized = pyro.plate("draws", 1000, dim=-2)

        def sample(count: int) -> None:
            for _ in range(math.ceil(count / 1000)):
                with torch.no_grad(), vectorized:
                    guide()

        return Fitted(guide, spent, steps, sample)

    def by_flow(transform: Any, seconds: float, seed: int, **options: Any) -> Fitted:
        pyro.set_rng_seed(seed)
        pyro.clear_param_store()
        short = pf.infer.AutoFlow(schools, transform)
        short.initialise()
        begin = time.process_time()
        pf.infer.fit_vi(schools, short, steps=20, seed=seed, tolerance=0.0, progress=False, **options)
        steps = max(100, round(20 * seconds / (time.process_time() - begin)))
        guide = pf.infer.AutoFlow(schools, transform)
        begin = time.process_time()
        history = pf.infer.fit_vi(schools, guide, steps=steps, seed=seed, progress=False, **options)
        spent = time.process_time() - begin
        return Fitted(guide, spent, history.steps, guide.sample_posterior)

    about = (
        "Gap between log evidence and ELBO, in nats, of the centred eight schools (10 latent variables), by "
        "20,000 draws. Lower is better; 0.02 and below counts as good."
    )
    guides = {
        "AutoNormal, 1,000 steps of SVI": partial(by_svi, AutoNormal),
        "AutoMultivariateNormal, the same": partial(by_svi, AutoMultivariateNormal),
        "AutoFlow, the default": partial(by_flow, None),
        "AutoFlow(model, pf.nsf)": partial(by_flow, pf.nsf),
        "AutoFlow(model, pf.iaf)": partial(by_flow, pf.iaf, path_gradient=False),
        "AutoFlow(model, pf.planar)": partial(by_flow, pf.planar),
    }
    return Posterior("gap", about, schools, guides)
