"""The start counts draws by sites' sizes, whatever sites share a score."""

import pyro
import pyro.distributions as dist
import torch

import pyro_flows as pf


def test_data_of_a_chain_that_is_summed_out():
    y = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])

    def model():
        p = pyro.sample("p", dist.Uniform(0.0, 1.0))
        with pyro.plate("rows", 2):
            z = torch.ones(2)
            for t in pyro.markov(range(3)):
                z = pyro.sample(f"z_{t}", dist.Bernoulli(p * z), infer={"enumerate": "parallel"})
                pyro.sample(f"y_{t}", dist.Bernoulli(0.1 + 0.5 * z), obs=y[:, t])

    guide = pf.infer.AutoFlow(model)
    guide.initialise()
    assert guide.initialised
