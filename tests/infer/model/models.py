"""Models as people write them, hostile ones included, each with its log-joint by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor

Y = torch.tensor([1.2, -0.4, 0.9, 2.1])


@dataclass(frozen=True)
class Case:
    """A model, its log-joint written out by hand, and how it is to run at many draws."""

    model: Callable[[], Any]
    log_joint: Callable[[dict[str, Tensor]], Tensor]
    """Of one draw's latent values."""
    way: str = "plate"
    failing: Callable[[dict[str, Tensor]], Tensor] | None = None
    """At which draws the model raises, if at any."""


def normal(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Tensor:
    return dist.Normal(loc, scale, validate_args=False).log_prob(torch.as_tensor(x)).sum()


def hierarchical() -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", 4):
        z = pyro.sample("z", dist.Normal(mean, scale))
        pyro.sample("y", dist.Normal(z, 1.0), obs=Y)


def hierarchical_by_hand(v: dict[str, Tensor]) -> Tensor:
    half = dist.HalfNormal(1.0).log_prob(v["scale"])
    return normal(v["mean"]) + half + normal(v["z"], v["mean"], v["scale"]) + normal(Y, v["z"])


def batch_without_plate() -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0))
    pyro.sample("y", dist.Normal(x, 1.0), obs=torch.ones(3))


def data_without_plate() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x, 1.0), obs=Y)


def outside_the_support() -> None:
    t = pyro.sample("t", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Exponential(1.0), obs=1 - t)


def outside_by_hand(v: dict[str, Tensor]) -> Tensor:
    return normal(v["t"]) + torch.where(v["t"] <= 1, v["t"] - 1, -torch.inf)


def uniform_data() -> None:
    top = pyro.sample("top", dist.LogNormal(1.0, 0.5))
    with pyro.plate("row", 3):
        pyro.sample("y", dist.Uniform(0.0, top), obs=torch.tensor([0.5, 1.0, 2.0]))


def uniform_by_hand(v: dict[str, Tensor]) -> Tensor:
    inside = torch.where(v["top"] > 2, -3 * v["top"].log(), -torch.inf)
    return dist.LogNormal(1.0, 0.5).log_prob(v["top"]) + inside


def event_support() -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.Gamma(2.0, torch.ones(2)).to_event(1), obs=x + 1)


def event_by_hand(v: dict[str, Tensor]) -> Tensor:
    y = v["x"] + 1
    inside = torch.where((y > 0).all(), (y.log() - y).sum(), -torch.inf)
    return normal(v["x"]) + inside


def logarithm_outside() -> None:
    """A computed observation whose log-density has no gradient outside the support."""
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1), obs=x + 1)


def logarithm_by_hand(v: dict[str, Tensor]) -> Tensor:
    y = v["x"] + 1
    log_y = torch.where(y > 0, y, 1.0).log()
    return normal(v["x"]) + torch.where((y > 0).all(), normal(log_y) - log_y.sum(), -torch.inf)


def simplex() -> None:
    p = pyro.sample("p", dist.Dirichlet(torch.ones(4)))
    pyro.sample("n", dist.Multinomial(9, probs=p), obs=torch.tensor([4.0, 3.0, 2.0, 0.0]))


def simplex_by_hand(v: dict[str, Tensor]) -> Tensor:
    counts = torch.tensor([4.0, 3.0, 2.0, 0.0])
    ways = torch.lgamma(torch.tensor(10.0)) - torch.lgamma(counts + 1).sum()
    return torch.lgamma(torch.tensor(4.0)) + ways + (counts * v["p"].log()).sum()


def scaled_and_masked() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 4), poutine.scale(scale=2.5), poutine.mask(mask=Y > 0):
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y)
    pyro.factor("f", -(x**4))


def scaled_by_hand(v: dict[str, Tensor]) -> Tensor:
    return normal(v["x"]) + 2.5 * normal(Y[Y > 0], v["x"]) - v["x"] ** 4


def masked_outside() -> None:
    """A masked element outside the support says nothing."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
    y = torch.tensor([1.0, -1.0, 2.0])
    with pyro.plate("row", 3), poutine.mask(mask=y > 0):
        pyro.sample("y", dist.Exponential(rate), obs=y)
    with pyro.plate("other", 3):
        pyro.sample("z", dist.Exponential(rate).mask(y > 0), obs=y)


def masked_outside_by_hand(v: dict[str, Tensor]) -> Tensor:
    rate = v["rate"]
    return dist.Gamma(2.0, 2.0).log_prob(rate) + 4 * rate.log() - 6 * rate


def partly_observed() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 4):
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y, obs_mask=Y > 0)


def partly_observed_by_hand(v: dict[str, Tensor]) -> Tensor:
    """The values that are not observed are latent; the masked rest of that site is standard normal."""
    free = v["y_unobserved"]
    return normal(v["x"]) + normal(Y[Y > 0], v["x"]) + normal(free[Y <= 0], v["x"]) + normal(free[Y > 0])


def padded() -> None:
    """Scales of sequences of lengths 1 and 3: a masked one is standard normal in its logarithm."""
    mask = torch.tensor([[True, False, False], [True, True, True]])
    with pyro.plate("sequence", 2, dim=-2), pyro.plate("time", 3, dim=-1), poutine.mask(mask=mask):
        pyro.sample("s", dist.Gamma(2.0, 1.0))


def padded_by_hand(v: dict[str, Tensor]) -> Tensor:
    mask = torch.tensor([[True, False, False], [True, True, True]])
    kept, padding = v["s"][mask], v["s"][~mask]
    return (kept.log() - kept).sum() + normal(padding.log()) - padding.log().sum()


def flat_prior() -> None:
    x = pyro.sample("x", dist.ImproperUniform(dist.constraints.positive, (), (2,)))
    pyro.sample("y", dist.Normal(x.log(), 1.0).to_event(1), obs=torch.zeros(2))


@poutine.reparam(config={"theta": LocScaleReparam(0.0)})
def reparameterised() -> None:
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("row", 4):
        theta = pyro.sample("theta", dist.Normal(1.0, scale))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=Y)


def reparameterised_by_hand(v: dict[str, Tensor]) -> Tensor:
    z = v["theta_decentered"]
    prior = dist.LogNormal(0.0, 0.5).log_prob(v["scale"]) + normal(z)
    return prior + normal(Y, 1 + v["scale"] * z)


def a_point() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    double = pyro.sample("double", dist.Delta(v := 2 * x), obs=v)
    pyro.deterministic("triple", 3 * x)
    pyro.sample("y", dist.Normal(double, 1.0), obs=torch.tensor(1.0))


def sums_over_everything() -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(x.sum(), 1.0), obs=torch.tensor(1.0))


def ridge() -> None:
    """A sum over all elements, of no weight beside the data."""
    x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    pyro.factor("ridge", -0.5 * x.square().sum())
    with pyro.plate("row", 1000):
        pyro.sample("y", dist.Normal(x[..., :1], 1.0), obs=torch.zeros(1000))


def ridge_by_hand(v: dict[str, Tensor]) -> Tensor:
    x = v["x"]
    return normal(x) - 0.5 * x.square().sum() + normal(torch.zeros(1000), x[0])


def mean_of_a_plate() -> None:
    with pyro.plate("group", 4):
        th = pyro.sample("th", dist.Normal(0.0, 1.0))
    z = pyro.sample("z", dist.Normal(th.mean(), 0.5))
    with pyro.plate("row", 1000):
        pyro.sample("y", dist.Normal(z, 1.0), obs=torch.ones(1000))


def mean_of_a_plate_by_hand(v: dict[str, Tensor]) -> Tensor:
    return normal(v["th"]) + normal(v["z"], v["th"].mean(), 0.5) + normal(torch.ones(1000), v["z"])


def sums_of_a_plate() -> None:
    """The same sum as a model takes that broadcasts: over a dimension of its own, which is kept."""
    with pyro.plate("group", 4):
        th = pyro.sample("th", dist.Normal(0.0, 1.0))
    pyro.factor("ridge", -0.5 * th.square().sum(-1, keepdim=True))


def masked_distribution() -> None:
    """What a distribution's own mask leaves out is standard normal in unconstrained space too."""
    mask = torch.tensor([True, True, False])
    x = pyro.sample("x", dist.Gamma(2.0, torch.ones(3)).mask(mask).to_event(1))
    with pyro.plate("row", 3), poutine.scale(scale=2.0):
        z = pyro.sample("z", dist.Normal(1.0, 2.0).expand([3]).mask(mask))
    pyro.sample("y", dist.Normal(x[..., 0], 1.0), obs=torch.tensor(1.0))
    with pyro.plate("other", 3):
        pyro.sample("w", dist.Normal(z, 1.0).mask(mask), obs=torch.ones(3))


def masked_distribution_by_hand(v: dict[str, Tensor]) -> Tensor:
    kept, rest, z = v["x"][:2], v["x"][2], v["z"]
    x = (kept.log() - kept).sum() + normal(rest.log()) - rest.log()
    return x + 2 * normal(z[:2], 1.0, 2.0) + normal(z[2]) + normal(1.0, v["x"][0]) + normal(1.0, z[:2])


def masked_altogether() -> None:
    """False for a mask makes a flat prior, in the sites' own space, for factors to follow."""
    with poutine.mask(mask=False):
        s = pyro.sample("s", dist.Exponential(1.0))
    x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
    pyro.factor("prior", -s - x.square())
    pyro.sample("y", dist.Normal(x + s, 1.0), obs=torch.tensor(1.0))


def masked_altogether_by_hand(v: dict[str, Tensor]) -> Tensor:
    s, x = v["s"], v["x"]
    return -s - x.square() + normal(1.0, x + s)


MISSING = torch.tensor([1.0, math.nan, 0.5])


def masked_nan() -> None:
    """What is missing is NaN: neither its log-density nor the gradient of that counts."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    known = ~MISSING.isnan()
    with pyro.plate("row", 3):
        with poutine.mask(mask=known):
            pyro.sample("y", dist.Normal(x, 1.0), obs=MISSING)
            pyro.sample("t", dist.Exponential(x.exp()), obs=MISSING)
        pyro.sample("w", dist.Normal(x, x.exp()).mask(known), obs=MISSING)
    vector = dist.Normal(x[..., None], torch.ones(3)).mask(known).to_event(1)
    pyro.sample("v", vector, obs=MISSING)


def masked_nan_by_hand(v: dict[str, Tensor]) -> Tensor:
    x, y = v["x"], MISSING[[0, 2]]
    exponential = 2 * x - 1.5 * x.exp()
    return normal(x) + 2 * normal(y, x) + exponential + normal(y, x, x.exp())


def takes_a_mean() -> None:
    """Broadcasts, and is wrong, if the draws are all the same."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x.mean(), 1.0), obs=torch.tensor(1.0))


def matrix_product() -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    pyro.sample("y", dist.Normal(torch.mm(torch.ones(1, 2), w), 1.0).to_event(2), obs=torch.ones(1, 3))


def by_accident() -> None:
    """Broadcasts against a dimension of three by accident, with any number of draws that is 1 or 3."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    loc = x.reshape(-1) * torch.ones(3)
    pyro.sample("y", dist.Normal(loc, 1.0).to_event(1), obs=torch.ones(3))


def one_at_a_time() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(2.0 if x.item() > 0 else -2.0, 1.0), obs=torch.tensor(1.0))


def covariance() -> None:
    """Raises where the covariance is not positive definite."""
    r = pyro.sample("r", dist.Normal(0.0, 0.6))
    eye = torch.eye(2)
    matrix = eye + r[..., None, None] * (1 - eye)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), matrix), obs=torch.tensor([0.3, -0.2]))


def covariance_by_hand(v: dict[str, Tensor]) -> Tensor:
    r = v["r"]
    inside = -0.5 * (1 - r**2).log() - 0.5 * (0.13 + 0.12 * r) / (1 - r**2) - torch.tensor(2 * torch.pi).log()
    return normal(r, 0.0, 0.6) + torch.where(r.abs() < 1, inside, -torch.inf)


def single_covariance() -> None:
    """The same, of one draw at a time."""
    r = pyro.sample("r", dist.Normal(0.0, 0.6))
    one = torch.ones(())
    matrix = torch.stack([torch.stack([one, r]), torch.stack([r, one])])
    root = torch.linalg.cholesky(matrix)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=root), obs=torch.tensor([0.3, -0.2]))


@config_enumerate
def mixture() -> None:
    with pyro.plate("component", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("row", 4):
        z = pyro.sample("z", dist.Bernoulli(share)).long()
        pyro.sample("y", dist.Normal(loc[z], 1.0), obs=Y)


def mixture_by_hand(v: dict[str, Tensor]) -> Tensor:
    prior = normal(v["loc"], 0.0, 2.0) + dist.Beta(2.0, 2.0).log_prob(v["share"])
    weights = torch.stack([1 - v["share"], v["share"]]).log()
    return prior + (weights + dist.Normal(v["loc"], 1.0).log_prob(Y[:, None])).logsumexp(-1).sum()


def masked_mixture() -> None:
    """A mixture whose mask is summed out; each component has a support of its own."""
    rate = pyro.sample("rate", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", 4):
        late = pyro.sample("late", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        parts = dist.Exponential(rate), dist.Normal(0.0, 2.0)
        pyro.sample("y", dist.MaskedMixture(late.bool(), *parts), obs=Y)


def masked_mixture_by_hand(v: dict[str, Tensor]) -> Tensor:
    positive = dist.Exponential(v["rate"], validate_args=False).log_prob(Y.clamp(min=0))
    first = torch.where(Y >= 0, positive, -torch.inf) + math.log(0.7)
    second = dist.Normal(0.0, 2.0).log_prob(Y) + math.log(0.3)
    return dist.LogNormal(0.0, 1.0).log_prob(v["rate"]) + torch.logaddexp(first, second).sum()


def one_label_for_all() -> None:
    """A discrete site outside the plate: its sum is one over all rows together."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    z = pyro.sample("z", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])), infer={"enumerate": "parallel"})
    with pyro.plate("row", 4):
        pyro.sample("y", dist.Normal(x + z, 1.0), obs=Y)
        pyro.sample("w", dist.Normal(x, 1.0), obs=Y)


def one_label_by_hand(v: dict[str, Tensor]) -> Tensor:
    each = torch.stack([w * normal(Y, v["x"] + z).exp() for z, w in enumerate([0.2, 0.3, 0.5])])
    return normal(v["x"]) + normal(Y, v["x"]) + each.sum().log()


STAY = torch.tensor([[0.8, 0.2], [0.3, 0.7]])


def hidden_markov() -> None:
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-1.0, 1.0]), 1.0).to_event(1))
    state: Any = 0
    for t in pyro.markov(range(4)):
        state = pyro.sample(f"z_{t}", dist.Categorical(STAY[state]), infer={"enumerate": "parallel"})
        pyro.sample(f"y_{t}", dist.Normal(pyro.ops.indexing.Vindex(loc)[..., state], 1.0), obs=Y[t])


def hidden_markov_by_hand(v: dict[str, Tensor]) -> Tensor:
    """The forward algorithm."""
    emission = dist.Normal(v["loc"], 1.0).log_prob(Y[:, None])
    forward = STAY[0].log() + emission[0]
    for t in range(1, 4):
        forward = (forward[:, None] + STAY.log()).logsumexp(0) + emission[t]
    return normal(v["loc"], torch.tensor([-1.0, 1.0])) + forward.logsumexp(0)


LENGTHS = torch.tensor([4, 2])
SEQUENCES = torch.stack([Y, Y.flip(0)])


def hidden_markov_sequences() -> None:
    """Two sequences of different lengths, padded."""
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-1.0, 1.0]), 1.0).to_event(1))
    with pyro.plate("sequence", 2, dim=-1):
        state: Any = 0
        for t in pyro.markov(range(4)):
            with poutine.mask(mask=t < LENGTHS):
                state = pyro.sample(f"z_{t}", dist.Categorical(STAY[state]), infer={"enumerate": "parallel"})
                emitted = dist.Normal(pyro.ops.indexing.Vindex(loc)[..., state], 1.0)
                pyro.sample(f"y_{t}", emitted, obs=SEQUENCES[:, t])


def hidden_markov_sequences_by_hand(v: dict[str, Tensor]) -> Tensor:
    total = normal(v["loc"], torch.tensor([-1.0, 1.0]))
    for sequence, length in zip(SEQUENCES, LENGTHS, strict=True):
        emission = dist.Normal(v["loc"], 1.0).log_prob(sequence[:, None])
        forward = STAY[0].log() + emission[0]
        for t in range(1, int(length)):
            forward = (forward[:, None] + STAY.log()).logsumexp(0) + emission[t]
        total = total + forward.logsumexp(0)
    return total


def far_apart() -> None:
    """Prior and likelihood of the discrete site disagree by hundreds of nats."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    z = pyro.sample(
        "z", dist.Categorical(logits=torch.tensor([0.0, -300.0])), infer={"enumerate": "parallel"}
    )
    pyro.sample("y", dist.Normal(x + 40 * z, 1.0), obs=torch.tensor(40.0))


def far_by_hand(v: dict[str, Tensor]) -> Tensor:
    terms = [dist.Normal(v["x"], 1.0).log_prob(torch.tensor(40.0)), normal(40.0, v["x"] + 40) - 300]
    return normal(v["x"]) + torch.stack(terms).logsumexp(0)


CAUGHT = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])


def capture_recapture() -> None:
    """Cormack–Jolly–Seber: an animal that is dead is not caught any more."""
    phi = pyro.sample("phi", dist.Uniform(0.0, 1.0))
    rho = pyro.sample("rho", dist.Uniform(0.0, 1.0))
    with pyro.plate("animal", 4, dim=-1):
        alive = torch.ones(4)
        for t in pyro.markov(range(1, 3)):
            alive = pyro.sample(f"alive_{t}", dist.Bernoulli(phi * alive), infer={"enumerate": "parallel"})
            pyro.sample(f"caught_{t}", dist.Bernoulli(rho * alive), obs=CAUGHT[:, t])


def capture_by_hand(v: dict[str, Tensor]) -> Tensor:
    phi, rho = v["phi"], v["rho"]
    never_again = 1 - phi + phi * (1 - rho)
    neither = 1 - phi + phi * (1 - rho) * never_again
    first_only = phi * rho * never_again
    last_only = phi * (1 - rho) * phi * rho
    both = (phi * rho) ** 2
    return neither.log() + first_only.log() + last_only.log() + both.log()


@config_enumerate
def local_and_discrete() -> None:
    """Inside the plate a continuous site depends on a discrete one, and two observations on both."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 4):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.4, 0.6])))
        x = pyro.sample("x", dist.Normal(mean + k, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y)
        pyro.sample("w", dist.Normal(k - 0.5, 1.0), obs=Y)


def local_by_hand(v: dict[str, Tensor]) -> Tensor:
    terms = [
        torch.tensor(w).log()
        + dist.Normal(v["mean"] + k, 1.0).log_prob(v["x"])
        + dist.Normal(k - 0.5, 1.0).log_prob(Y)
        for k, w in enumerate([0.4, 0.6])
    ]
    return normal(v["mean"]) + normal(Y, v["x"]) + torch.stack(terms).logsumexp(0).sum()


CASES = {
    "hierarchical": Case(hierarchical, hierarchical_by_hand),
    "batch without a plate": Case(batch_without_plate, lambda v: normal(v["x"]) + normal(1.0, v["x"])),
    "data without a plate": Case(data_without_plate, lambda v: normal(v["x"]) + normal(Y, v["x"])),
    "outside the support": Case(outside_the_support, outside_by_hand),
    "uniform data": Case(uniform_data, uniform_by_hand),
    "support of events": Case(event_support, event_by_hand),
    "a logarithm outside": Case(logarithm_outside, logarithm_by_hand),
    "simplex": Case(simplex, simplex_by_hand),
    "scaled and masked": Case(scaled_and_masked, scaled_by_hand),
    "masked outside the support": Case(masked_outside, masked_outside_by_hand),
    "partly observed": Case(partly_observed, partly_observed_by_hand),
    "padded": Case(padded, padded_by_hand),
    "flat prior": Case(flat_prior, lambda v: normal(v["x"].log())),
    "reparameterised": Case(reparameterised, reparameterised_by_hand),
    "a point": Case(a_point, lambda v: normal(v["x"]) + normal(1.0, 2 * v["x"])),
    "sums over everything": Case(
        sums_over_everything, lambda v: normal(v["x"]) + normal(1.0, v["x"].sum()), "vmap"
    ),
    "ridge": Case(ridge, ridge_by_hand, "vmap"),
    "mean of a plate": Case(mean_of_a_plate, mean_of_a_plate_by_hand, "vmap"),
    "sums of a plate": Case(sums_of_a_plate, lambda v: normal(v["th"]) - 0.5 * v["th"].square().sum()),
    "masked distribution": Case(masked_distribution, masked_distribution_by_hand),
    "masked altogether": Case(masked_altogether, masked_altogether_by_hand),
    "masked NaN": Case(masked_nan, masked_nan_by_hand),
    "takes a mean": Case(takes_a_mean, lambda v: normal(v["x"]) + normal(1.0, v["x"]), "vmap"),
    "matrix product": Case(matrix_product, lambda v: normal(v["w"]) + normal(1.0, v["w"].sum(0)), "vmap"),
    "broadcasts by accident": Case(by_accident, lambda v: normal(v["x"]) + 3 * normal(1.0, v["x"]), "vmap"),
    "one at a time": Case(
        one_at_a_time, lambda v: normal(v["x"]) + normal(1.0, 2.0 if v["x"] > 0 else -2.0), "loop"
    ),
    "covariance": Case(covariance, covariance_by_hand, "plate", lambda v: v["r"].abs() >= 1),
    "covariance of one draw": Case(
        single_covariance, covariance_by_hand, "vmap", lambda v: v["r"].abs() >= 1
    ),
    "mixture": Case(mixture, mixture_by_hand, "vmap"),
    "masked mixture": Case(masked_mixture, masked_mixture_by_hand),
    "one label for all": Case(one_label_for_all, one_label_by_hand),
    "hidden Markov model": Case(hidden_markov, hidden_markov_by_hand),
    "hidden Markov models of sequences": Case(hidden_markov_sequences, hidden_markov_sequences_by_hand),
    "far apart": Case(far_apart, far_by_hand),
    "capture-recapture": Case(capture_recapture, capture_by_hand),
    "local and discrete": Case(local_and_discrete, local_by_hand),
}
