"""What guides keep in Pyro's parameter store, and for how long."""

import copy
import gc

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoGuideList
from torch import nn

import pyro_flows as pf
from pyro_flows.infer import AutoAmortized, AutoFlow
from pyro_flows.infer.guides import start


def pair():
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("z", dist.Normal(x[..., 0], 1.0))


def rows(y):
    with pyro.plate("rows", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def small(dim):
    return pf.transforms.DiagonalScaling(dim)


def stored():
    gc.collect()
    return sorted(pyro.get_param_store())


def test_guides_that_are_gone_leave_nothing(monkeypatch):
    monkeypatch.setattr(start, "STEPS", 2)
    for _ in range(3):
        guide = AutoFlow(pair, small)
        SVI(pair, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step()
        assert stored()
        twin = copy.deepcopy(guide)
        twin()
        amortised = AutoAmortized(rows, nn.Unflatten(0, (-1, 1)), rows=lambda y: y)
        amortised(torch.randn(4))
        del guide, twin, amortised
        assert stored() == []


def test_a_named_guide_leaves_its_values_to_the_next_of_its_name():
    guide = AutoFlow(pair, small, name="posterior")
    guide()
    values = guide.sample_posterior(3)
    wanted = guide.log_prob(values)
    del guide
    assert all(key.startswith("posterior.") for key in stored())
    guide = AutoFlow(pair, small, name="posterior")
    guide.setup()
    torch.testing.assert_close(guide.log_prob(values), wanted)


def test_guides_in_two_lists_share_nothing():
    lists = []
    for _ in range(2):
        both = AutoGuideList(pair)
        both.append(AutoFlow(poutine.block(pair, hide=["z"]), small))
        both.append(AutoFlow(poutine.block(pair, hide=["x"]), small))
        both()
        lists.append(both)
    first, second = ({id(p) for p in both.parameters()} for both in lists)
    assert not first & second
    count = len(stored())
    del lists[0], both
    assert 0 < len(stored()) < count


def test_tensors_that_the_guide_got_since_are_put_into_the_store():
    guides = [AutoFlow(pair, name=name) for name in ("one", "other")]
    for guide in guides:
        guide()
    values = guides[1].sample_posterior(3)
    wanted = guides[1].log_prob(values)
    guides[0].load_state_dict(guides[1].state_dict(), assign=True)
    assert torch.equal(guides[0].log_prob(values), wanted)  # not the store's old values
    stored = pyro.get_param_store()
    for key, parameter in guides[0].flow.named_parameters():
        assert stored._params[f"one.{key}"] is parameter
        assert stored.param_name(parameter) == f"one.{key}"
    guides[0].double()
    assert guides[0].log_prob({name: value.double() for name, value in values.items()}).dtype is torch.float64
    assert {stored[key].dtype for key in stored if key.startswith("one.")} == {torch.float64}
