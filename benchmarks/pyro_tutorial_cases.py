"""The models of Pyro's tutorial, with data of the shape of the notebooks'."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib import gp
from pyro.contrib.tracking.dynamic_models import NcvContinuous
from pyro_example_cases import Case
from pyro_sources import definitions

__all__ = ["TUTORIAL"]


def plain(root: Path, notebook: str, *args: Any, names: tuple[str, ...] = ("model",), which: int = 0) -> Case:
    """The last of `names`, called with `args`."""
    return definitions(root, notebook, *names, which=which)[names[-1]], args


def countries() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """170 countries: in Africa or not, ruggedness, logarithm of the gross domestic product."""
    africa, rugged = dist.Bernoulli(0.29).sample((170,)), dist.Gamma(1.2, 0.9).sample((170,))
    gdp = 9.2 - 1.95 * africa - 0.2 * rugged + 0.39 * africa * rugged + 0.95 * torch.randn(170)
    return africa, rugged, gdp


def regression_module(root: Path) -> Case:
    africa, rugged, gdp = countries()
    built = definitions(root, "bayesian_regression", "BayesianRegression")["BayesianRegression"](3, 1)
    return built, (torch.stack([africa, rugged, africa * rugged], 1), gdp)


def regression(root: Path, notebook: str) -> Case:
    return plain(root, notebook, *countries())


def boosting(root: Path) -> Case:
    return plain(root, "boosting_bbvi", 4.0 + 0.1 * torch.randn(100))


def dirichlet_process(root: Path, which: int) -> Case:
    """Points of 4 clusters with 6 components; 100 counts of sunspots with 5, of 20."""
    if which == 0:
        centres = 5.0 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        data = (centres + torch.randn(10, 4, 2)).reshape(-1, 2)
    else:
        data = dist.Poisson(torch.tensor([5.0, 60.0, 150.0]).repeat_interleave(33)).sample()
    given = {"T": 6 if which == 0 else 5, "alpha": 0.5, "N": len(data)}
    found = definitions(root, "dirichlet_process_mixture", "mix_weights", "model", which=which, **given)
    return pyro.infer.config_enumerate(found["model"]), (data,)


def elections(root: Path) -> Case:
    """8 states of 51, polled by 100 each."""
    mean, spread = torch.linspace(-0.5, 0.5, 8), torch.full((8, 8), 0.05) + 0.1 * torch.eye(8)
    given = {"ec_votes_tensor": torch.arange(3.0, 11.0), "prior_mean": mean, "prior_covariance": spread}
    found = definitions(root, "elections", "election_winner", "model", **given)
    polls = torch.full((8,), 100.0)
    return pyro.condition(found["model"], {"y": dist.Binomial(polls, logits=mean).sample()}), (polls,)


def enumeration(root: Path, which: int, args: tuple[Any, ...] = ()) -> Case:
    return plain(root, "enumeration", *args, which=which)


def enumeration_hmm(root: Path) -> Case:
    data = dist.Categorical(torch.ones(10, 4)).sample()
    return plain(root, "enumeration", data, 4, 3, names=("hmm_model",), which=-1)


def linear_dynamics(root: Path) -> Case:
    """20 days and 2 predictors, of 1,067 and 5."""
    covariates = torch.cat([torch.ones(20, 1), 0.1 * torch.randn(20, 2)], 1)
    weights = torch.cat([0.1 * torch.randn(20, 1), 0.02 * torch.randn(20, 2)], 1).cumsum(0)
    y = ((covariates * weights).sum(-1) + 0.1 * torch.randn(20)).unsqueeze(-1)
    return definitions(root, "forecasting_dlm", "DLM")["DLM"](), (y, covariates)


def forecasting(root: Path, name: str) -> Case:
    """40 weeks of 468."""
    time = torch.arange(40.0)
    covariates = torch.stack([(time / 6).sin(), (time / 6).cos()], -1)
    data = (10 + 0.2 * covariates[:, 0] + 0.05 * torch.randn(40)).unsqueeze(-1)
    return definitions(root, "forecasting_i", name)[name](), (data, covariates)


def forecasting_filtered(root: Path) -> Case:
    """100 hours of 49,000."""
    data = (0.3 * torch.randn(100)).cumsum(0).unsqueeze(-1) + 0.1 * torch.randn(100, 1)
    found = definitions(root, "forecasting_ii", "Model1", means=torch.zeros(168))
    return found["Model1"](), (data, data[:, :0])


def gaussian_process(root: Path) -> Case:
    """20 points; a length scale and a variance, the noise is a parameter."""
    x = dist.Uniform(0.0, 5.0).sample((20,))
    y = 0.5 * torch.sin(3 * x) + 0.2 * torch.randn(20)
    gpr = gp.models.GPRegression(x, y, gp.kernels.RBF(input_dim=1), noise=torch.tensor(1.0))
    gpr.kernel.lengthscale = pyro.nn.PyroSample(dist.LogNormal(0.0, 1.0))
    gpr.kernel.variance = pyro.nn.PyroSample(dist.LogNormal(0.0, 1.0))
    return gpr.model, ()


def growth(root: Path, name: str) -> Case:
    """Counts of 2 lineages at 14 times, in 4 regions, of 27 and 49."""
    time = torch.arange(14.0) * 14 / 5.5
    regions = () if name == "basic_model" else (4,)
    logits = torch.stack([torch.zeros(14), 0.2 * time - 3], -1).reshape(14, *(1,) * len(regions), 2)
    counts = dist.Multinomial(50, logits=logits.expand(14, *regions, 2)).sample()
    given = {"dataset": {"time_step_days": 14}}
    return definitions(root, "logistic-growth", name, **given)[name], (counts,)


def strains(root: Path) -> Case:
    """5 strains of 3 mutations at 6 times in 4 places, of 1,316 strains of 2,337 at 27 in 1,070."""
    features = dist.Bernoulli(0.5).sample((5, 3))
    counts = dist.Multinomial(20, logits=torch.zeros(6, 4, 5)).sample()
    return plain(root, "workflow", {"features": features, "counts": counts, "time_step_days": 14})


def module_regression(root: Path) -> Case:
    x = torch.randn(100, 5)
    y = 1.0 + x @ torch.randn(5, 2) + 0.5 * torch.randn(100, 2)
    return definitions(root, "modules", "BayesianLinear", "Model")["Model"](5, 2), (x, y)


def counts_regression(root: Path) -> Case:
    x = torch.randn(100, 1)
    y = ((30 * x[:, 0] + 150 + 5 * torch.randn(100)) ** 3 / 100000 + 10).round().clamp(min=0)
    return plain(root, "predictive_deterministic", x, y)


def random_walk(root: Path) -> Case:
    """30 steps of 1,000."""
    data = dist.StudentT(4.0, 0.0, 1.0).sample((30,)).cumsum(0) + 0.5 * torch.randn(30)
    return plain(root, "prior_predictive", 30, data)


def stable_volatility(root: Path) -> Case:
    """20 days of 5,000, by both reparametrisations."""
    returns = dist.Stable(1.8, 0.0, 0.01).sample((20,))
    found = definitions(root, "stable", "model", which=-1)
    reparam = pyro.infer.reparam
    config = {"v": reparam.DiscreteCosineReparam(), "r": reparam.StableReparam()}
    return poutine.reparam(found["model"], config), (returns,)


def working_memory(root: Path) -> Case:
    found = definitions(root, "working_memory", "sensitivity", "prior_mean", "prior_sd", "model")
    model = pyro.condition(found["model"], {"y": torch.tensor([1.0, 1.0, 0.0])})
    return model, (torch.tensor([5.0, 7.0, 9.0]),)


def working_memory_times(root: Path) -> Case:
    names = ("sensitivity", "prior_mean", "prior_sd", "time_intercept", "time_scale", "model")
    found = definitions(root, "working_memory", *names, which=-1)
    data = {"correct": torch.tensor(1.0), "time": torch.tensor(2.0)}
    return pyro.condition(found["model"], data), (torch.tensor(6.0),)


def amortised_importance(root: Path) -> Case:
    return plain(root, "csis", torch.tensor(1.0), {"x1": torch.tensor(8.0), "x2": torch.tensor(9.0)})


def walks(root: Path) -> Case:
    """5 of 100 series of 7 binary steps."""
    model = definitions(root, "easyguide", "model")["model"]
    batch = dist.Bernoulli(0.6).sample((7, 5))
    return model, (batch, torch.arange(5), 5)


def kalman(root: Path) -> Case:
    ncv = NcvContinuous(4, 2.0)
    truth = torch.zeros(10, 4)
    truth[0, 2] = 1.0
    for frame in range(1, 10):
        truth[frame] = ncv(truth[frame - 1], dt=1e-2) + ncv.process_noise_dist(1e-2).sample()
    positions = truth[:, :2] + 1e-5**0.5 * torch.randn(10, 2)
    found = definitions(root, "ekf", "model", i=0, xs_truth=truth, ncv=ncv, num_frames=10)
    return found["model"], (positions,)


def annotators(root: Path) -> Case:
    positions = torch.tensor([0, 0, 0, 1, 2, 3, 4])
    truth = torch.randint(0, 4, (20, 1))
    annotations = torch.where(torch.rand(20, 7) < 0.8, truth, torch.randint(0, 4, (20, 7)))
    model = definitions(root, "model_rendering", "mace")["mace"]
    return pyro.infer.config_enumerate(model), (positions, annotations)


def gaussian_states(root: Path) -> Case:
    """3 states of 16, a sequence of 24."""
    sequence = torch.cat([torch.randn(12) - 4, torch.randn(12) + 4])
    return plain(root, "jit", sequence, 1, 24, 3, which=-1)


def coin(root: Path) -> Case:
    return plain(root, "svi_part_i", [torch.tensor(float(i < 6)) for i in range(10)])


def correlations(root: Path) -> Case:
    """4 groups of 100."""
    names = ("prior", "likelihood", "model")
    z = torch.randn(4, 3)
    found = definitions(root, "svi_flow_guide", *names)
    return found["model"], (found["likelihood"](z).sample((5,)),)


def weighing(root: Path) -> Case:
    return plain(root, "intro_part_ii", 8.5, names=("scale_obs",))


HEADS = torch.tensor([1.0] * 6 + [0.0] * 4)

TUTORIAL: dict[str, Callable[[Path], Case]] = {
    "bayesian_regression": regression_module,
    "bayesian_regression_ii": partial(regression, notebook="bayesian_regression_ii"),
    "intro_long": partial(regression, notebook="intro_long"),
    "boosting_bbvi": boosting,
    "dirichlet_process, normal": partial(dirichlet_process, which=0),
    "dirichlet_process, Poisson": partial(dirichlet_process, which=-1),
    "elections": elections,
    "enumeration, plates": partial(enumeration, which=3),
    "enumeration, mixture": lambda root: enumeration(root, -1, (torch.randn(10),)),
    "enumeration, hmm": enumeration_hmm,
    "gmm": lambda root: plain(root, "gmm", torch.tensor([0.0, 1.0, 10.0, 11.0, 12.0]), names=("K", "model")),
    "forecasting_dlm": linear_dynamics,
    "forecasting_i, 1": partial(forecasting, name="Model1"),
    "forecasting_i, 2": partial(forecasting, name="Model2"),
    "forecasting_ii, 1": forecasting_filtered,
    "gp": gaussian_process,
    "logistic-growth": partial(growth, name="basic_model"),
    "logistic-growth, regions": partial(growth, name="regional_model"),
    "logistic-growth, rates": partial(growth, name="regional_model2"),
    "workflow": strains,
    "mle_map": partial(plain, notebook="mle_map", names=("original_model",)),
    "mle_map, uniform": partial(plain, notebook="mle_map", names=("original_model_uniform_prior",)),
    "modules": module_regression,
    "predictive_deterministic": counts_regression,
    "prior_predictive": random_walk,
    "stable": stable_volatility,
    "tensor_shapes": partial(plain, notebook="tensor_shapes", names=("model1",)),
    "working_memory": working_memory,
    "working_memory, times": working_memory_times,
    "csis": amortised_importance,
    "easyguide": walks,
    "ekf": kalman,
    "model_rendering": lambda root: plain(root, "model_rendering", torch.ones(10)),
    "model_rendering, mace": annotators,
    "jit": lambda root: plain(root, "jit", 0.5 + 2 * torch.randn(100)),
    "jit, hmm": gaussian_states,
    "svi_part_i": coin,
    "svi_flow_guide": correlations,
    "intro_part_ii": weighing,
}
for name in ("mle_map", "mle_map, uniform"):
    build = TUTORIAL[name]
    TUTORIAL[name] = lambda root, build=build: (build(root)[0], (HEADS,))
