"""The models of Pyro's ``examples/``, with data: real if it lies there, else simulated of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro_sources import example

__all__ = ["EXAMPLES", "Case"]

Case = tuple[Callable[..., Any], tuple[Any, ...]]
POOLINGS = ("fully_pooled", "not_pooled", "partially_pooled", "partially_pooled_with_logit")


def baseball(root: Path, pooling: str) -> Case:
    """18 players, 45 at-bats each, of abilities around 0.27."""
    at_bats = torch.full((18,), 45.0)
    hits = dist.Binomial(at_bats, dist.Beta(27.0, 73.0).sample((18,))).sample()
    return getattr(example(root, "baseball"), pooling), (at_bats, hits)


def eight_schools_mcmc(root: Path) -> Case:
    module = example(root, "eight_schools/mcmc")
    return module.conditioned_model, (module.model, module.data.sigma, module.data.y)


def eight_schools_svi(root: Path) -> Case:
    module = example(root, "eight_schools/svi")
    return module.model, (module.data,)


def banana(root: Path) -> Case:
    return example(root, "neutra").model, (1.15, 1.0)


def lkj(root: Path) -> Case:
    return example(root, "lkj").model, (torch.randn(500, 5).double(),)


def inclined_plane(root: Path) -> Case:
    module = example(root, "inclined_plane")
    return module.model, (module.observed_data,)


def sparse_regression(root: Path) -> Case:
    """60 rows of 10 features, of 750 of 100."""
    module = example(root, "sparse_regression")
    x, y, *_ = module.get_data(N=60, P=10, S=3, Q=2, sigma_obs=0.05)
    hypers = {"expected_sparsity": 1.0, "alpha1": 3.0, "beta1": 1.0, "alpha2": 3.0, "beta2": 1.0}
    return module.model, (x, y, hypers | {"alpha3": 1.0, "c": 1.0})


def capture_recapture(root: Path, number: int) -> Case:
    """The dippers that lie beside the example."""
    folder = root / "examples" / "capture_recapture"

    def read(name: str) -> torch.Tensor:
        return torch.tensor(np.genfromtxt(folder / name, delimiter=",")).float()

    history, sex = read("dipper_capture_history.csv")[:, 1:], read("dipper_sex.csv")[:, 1]
    return getattr(example(root, "capture_recapture/cjs"), f"model_{number}"), (history, sex)


def hidden_markov(root: Path, number: int) -> Case:
    """6 sequences of up to 8 chords of 4 tones, 2 states (4 in models 3 and 4), of 229 of 129, 51 and 16."""
    args = SimpleNamespace(hidden_dim=4 if number in (3, 4) else 2, jit=False, nn_dim=4, nn_channels=2)
    state = (torch.rand(6, 8) < 0.3).long().cumsum(-1) % 2
    sequences = dist.Bernoulli(torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.2, 0.1, 0.7, 0.9]])[state]).sample()
    lengths = torch.tensor([8, 8, 7, 6, 8, 5])
    return getattr(example(root, "hmm"), f"model_{number}"), (sequences, lengths, args)


def toy_mixture(root: Path) -> Case:
    """1,000 rows of 10,000."""
    module = example(root, "toy_mixture_model_discrete_enumeration")
    prior, _, data = module.generate_data(1000)
    return module.model, (prior, data, 1000)


def tree_data(root: Path) -> Case:
    one = torch.tensor(1.0)
    data = {
        "foo": one,
        "bar": [0 * one, 1 * one, 2 * one],
        "baz": {"noun": {"concrete": 4 * one, "abstract": 6 * one}, "verb": 2 * one},
    }
    return example(root, "contrib/autoname/tree_data").model, (data,)


def epidemic(root: Path, name: str) -> Case:
    """20 people, 6 days, of 1,000 people and 30 days."""
    module = example(root, "sir_hmc")
    args = SimpleNamespace(population=20, recovery_time=4.0)
    module.args = args  # read as a global there
    return getattr(module, name), (args, torch.tensor([1.0, 1.0, 2.0, 2.0, 1.0, 0.0]))


def seals(root: Path) -> Case:
    """2 groups of 3 seals, 8 time steps of 1,250, with continuous random effects."""
    shape = (3, 2, 8)
    config = {
        "MISSING": 1e-6,
        "sizes": {"state": 2, "random": 2, "group": 2, "individual": 3, "timesteps": 8},
        "group": {"random": "continuous"},
        "individual": {"random": "continuous", "mask": torch.ones(3, 2).bool()},
        "timestep": {"mask": torch.ones(shape).bool()},
        "observations": {
            "step": dist.Gamma(2.0, 1.0).sample(shape),
            "angle": dist.VonMises(0.0, 1.0).sample(shape),
            "omega": dist.Beta(2.0, 3.0).sample(shape),
        },
    }
    return example(root, "mixed_hmm/model").model_generic, (config,)


def topics(root: Path) -> Case:
    """10 documents of 12 words out of 8, 2 topics, of 1,000 of 64 out of 1,024 and 8."""
    args = SimpleNamespace(num_topics=2, num_words=8, num_docs=10, num_words_per_doc=12)
    words = torch.cat([torch.randint(0, 5, (12, 5)), torch.randint(3, 8, (12, 5))], 1)
    return example(root, "lda").model, (words, args)


EXAMPLES: dict[str, Callable[[Path], Case]] = {
    **{f"baseball {name}": partial(baseball, pooling=name) for name in POOLINGS},
    "eight schools, mcmc": eight_schools_mcmc,
    "eight schools, svi": eight_schools_svi,
    "neutra, banana": banana,
    "lkj": lkj,
    "inclined_plane": inclined_plane,
    "sparse_regression": sparse_regression,
    **{f"capture_recapture {i}": partial(capture_recapture, number=i) for i in range(1, 6)},
    **{f"hmm {i}": partial(hidden_markov, number=i) for i in (0, 1, 2, 3, 4, 5, 7)},
    "toy_mixture": toy_mixture,
    "autoname, tree_data": tree_data,
    "sir_hmc, enumerated": partial(epidemic, name="reparameterized_discrete_model"),
    "sir_hmc, continuous": partial(epidemic, name="continuous_model"),
    "sir_hmc, vectorized": partial(epidemic, name="vectorized_model"),
    "mixed_hmm": seals,
    "lda": topics,
}
