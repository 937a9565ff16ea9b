import argparse
import warnings
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyro_flows as pf
from pyro_flows.infer import AutoAmortized, AutoFlow, AutoMixture
from pyro_flows.infer.guides.arguments import digest_of, shapes_of

X = torch.linspace(-2.0, 2.0, 20)
NEW = torch.tensor([1.0, 2.0, 3.0])


def regression(x, y=None):
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(weight * x, 1.0), obs=y)


def classification(x, y=None):
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=weight * x), obs=y)


def placed(guide, *args, **kwargs):
    """Set a guide up, without a search for a start."""
    guide.setup(*args, **kwargs)
    for member in guide.guides if isinstance(guide, AutoMixture) else [guide]:
        member.initialised.fill_(True)
    return guide


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("model", [regression, classification])
def test_predictions_at_other_rows_without_observations(model, parallel):
    guide = placed(AutoFlow(model), X, (X > 0).float())
    draws = Predictive(model, guide=guide, num_samples=10, parallel=parallel)(NEW)
    assert draws["y"].shape == (10, 3)


def test_predictions_are_of_the_guides_draws():
    guide = placed(AutoFlow(regression), X, X)
    guide.whitening.place(torch.tensor([5.0]), torch.tensor([[1e-3]]))
    y = Predictive(regression, guide=guide, num_samples=2000, parallel=True)(NEW)["y"]
    torch.testing.assert_close(y.mean(0), 5 * NEW, atol=0.1, rtol=0)


def test_predictions_of_mixtures_modules_and_amortised_guides():
    mixture = placed(AutoMixture([AutoFlow(classification) for _ in range(2)]), X, (X > 0).float())
    assert Predictive(classification, guide=mixture, num_samples=4)(NEW)["y"].shape == (4, 3)

    class Regression(pyro.nn.PyroModule):
        def forward(self, x, y=None):
            return regression(x, y)

    model = Regression()
    assert Predictive(model, guide=placed(AutoFlow(model), X, X), num_samples=4)(NEW)["y"].shape == (4, 3)

    def local(x, y=None):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("y", dist.Bernoulli(logits=z * x), obs=y)

    guide = AutoAmortized(local, nn.Unflatten(0, (-1, 1)), rows=lambda x, y=None: x)
    guide.setup(X, (X > 0).float())
    placed(guide.globals, X, (X > 0).float())
    assert Predictive(local, guide=guide, num_samples=4)(NEW)["y"].shape == (4, 3)


def test_other_sites_that_are_new_are_refused_all_the_same():
    def model(x, y=None, more=False):
        regression(x, y)
        if more:
            pyro.sample("other", dist.Normal(0.0, 1.0))

    guide = placed(AutoFlow(model), X, X)
    with pytest.raises(ValueError, match=r"no 'other'; got 'other' of shape \(\): make another guide"):
        guide(NEW, more=True)


def in_range(y):
    x = pyro.sample("x", dist.Uniform(0.0, y.max()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def by_fit_vi(guide, y):
    pf.infer.fit_vi(in_range, guide, y, steps=1, progress=False)


def by_flow_mcmc(guide, y):
    quick = {"num_samples": 4, "num_chains": 4, "warmup_steps": 1, "thinning": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains have not mixed")
        pf.infer.flow_mcmc(in_range, guide, y, **quick)


def by_importance(guide, y):
    pf.infer.importance(in_range, guide, y, num_samples=10)


def by_svi(guide, y):
    SVI(in_range, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(y)


@pytest.mark.parametrize("route", [by_fit_vi, by_flow_mcmc, by_importance, by_svi])
def test_data_that_move_a_support_are_refused(route):
    guide = placed(AutoFlow(in_range), torch.tensor([3.0, 3.0, 4.0]))
    route(guide, torch.tensor([2.0, 3.5, 4.0]))  # of the same range
    with pytest.raises(ValueError, match="got another one of 'x': make another guide for these data"):
        route(guide, torch.tensor([11.0, 11.0, 12.0]))


def test_data_that_choose_another_distribution_are_refused_by_setup():
    def model(y):
        pyro.sample("x", dist.HalfNormal(1.0) if y.mean() > 0 else dist.Normal(0.0, 1.0))

    for first in (1.0, -1.0):
        guide = placed(AutoFlow(model), torch.tensor([first]))
        guide.setup(torch.tensor([2 * first]))
        with pytest.raises(ValueError, match="got another one of 'x': make another guide"):
            guide.setup(torch.tensor([-first]))


def test_predictions_may_be_outside_of_the_data():
    def model(x, y=None):
        change = pyro.sample("change", dist.Uniform(x.min(), x.max()))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal((x > change).float(), 1.0), obs=y)

    guide = placed(AutoFlow(model), X, X)
    sites = ["change"]
    draws = Predictive(model, guide=guide, num_samples=500, return_sites=sites, parallel=True)(10 * NEW)[
        "change"
    ]
    assert draws.min() >= -2
    assert draws.max() <= 2


@dataclass
class Config:
    more: bool
    names: tuple[str, ...] = ("a",)


@pytest.mark.parametrize(
    "config",
    [
        lambda more: {"more": more},
        Config,
        lambda more: argparse.Namespace(more=more),
    ],
)
def test_an_entry_of_a_configuration_that_switches_a_site_off(config):
    def model(config):
        more = config["more"] if isinstance(config, dict) else config.more
        pyro.sample("x", dist.Normal(0.0, 1.0))
        if more:
            pyro.sample("w", dist.Normal(0.0, 1.0))

    guide = placed(AutoFlow(model), config(True))
    guide(config(True))
    with pytest.raises(ValueError, match=r"'w' of shape \(\); got no 'w': make another guide"):
        guide(config(False))


def test_a_fixed_support_costs_a_run_of_the_model_for_new_shapes_only():
    runs = 0

    def model(y):
        nonlocal runs
        runs += 1
        x = pyro.sample("x", dist.LogNormal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0).expand(y.shape).to_event(1), obs=y)

    guide = placed(AutoFlow(model), X)
    before = runs
    for y in (X, X + 1, X + 2):
        guide(y)
    assert runs == before
    guide(NEW)
    assert runs == before + 1


ARGUMENTS = {
    "number": (1.5, 2.5),
    "flag in a dictionary": ({"a": True}, {"a": False}),
    "key": ({"a": 1}, {"b": 1}),
    "name": ("a", "b"),
    "dataclass": (Config(True), Config(True, ("b",))),
    "set": ({1, 2}, {1, 3}),
}
ARRAYS = {
    "tensor": (torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])),
    "no dimension": (torch.tensor(1.0), torch.tensor(2.0)),
    "bfloat16": (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    "sparse": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "array": (np.zeros(3), np.ones(3)),
    "words": (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
    "dates": (np.array(["2026-01-01"], "datetime64[D]"), np.array(["2026-01-02"], "datetime64[D]")),
    "list": ([torch.zeros(3)], [torch.ones(3)]),
    "transposed": (torch.arange(4).reshape(2, 2), torch.arange(4).reshape(2, 2).mT),
}


@pytest.mark.parametrize(("a", "b"), [*ARGUMENTS.values(), *ARRAYS.values()], ids=[*ARGUMENTS, *ARRAYS])
def test_a_digest_tells_arguments_apart(a, b):
    assert digest_of((a,), {}) == digest_of((a,), {})
    assert digest_of((a,), {}) != digest_of((b,), {})
    assert digest_of((), {"y": a}) != digest_of((), {"y": b})


@pytest.mark.parametrize(("a", "b"), ARGUMENTS.values(), ids=list(ARGUMENTS))
def test_shapes_tell_plain_values_apart(a, b):
    assert shapes_of((a,), {}) != shapes_of((b,), {})
    assert len({shapes_of((a,), {}), shapes_of((b,), {})}) == 2


@pytest.mark.parametrize(("a", "b"), ARRAYS.values(), ids=list(ARRAYS))
def test_shapes_do_not_look_into_arrays(a, b):
    assert shapes_of((a,), {}) == shapes_of((b,), {})


def test_what_is_learned_or_has_no_value_counts_by_its_kind():
    assert digest_of((nn.Parameter(torch.zeros(2)),), {}) == digest_of((nn.Parameter(torch.ones(2)),), {})
    assert digest_of((nn.Linear(2, 2),), {}) == digest_of((nn.Linear(2, 2),), {})
    assert digest_of((dist.Normal(0.0, 1.0),), {}) == digest_of((dist.Normal(0.0, 2.0),), {})
    assert digest_of((object(), len), {}) == digest_of((object(), len), {})
    assert digest_of((len,), {}) != digest_of((max,), {})
