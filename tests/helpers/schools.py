"""The eight schools (Rubin 1981), the model that posterior inference is tried on first."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
EVIDENCE = -31.312  # nats


def schools(y: Tensor = Y, sigma: Tensor = SIGMA, *, centred: bool = True) -> None:
    """Effects θ ~ N(μ, τ) of eight schools, measured with known errors; dtype and device are the data's."""
    like = y.new_ones(())
    mu = pyro.sample("mu", dist.Normal(0 * like, 5 * like))
    tau = pyro.sample("tau", dist.HalfCauchy(5 * like))
    with pyro.plate("schools", 8):
        if centred:
            theta = pyro.sample("theta", dist.Normal(mu, tau))
        else:
            theta = mu + tau * pyro.sample("eta", dist.Normal(0 * like, like))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)
