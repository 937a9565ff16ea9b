"""Law 7: copies and saved states are exact, and in evaluation mode nothing is remembered."""

from __future__ import annotations

import copy
import io
import pickle

import torch

from ..case import Case
from ..expect import expect

__all__ = ["copies", "nothing_remembered_in_eval"]


def copies(case: Case) -> None:
    """7. `deepcopy`, `pickle`, `state_dict` and `torch.load(weights_only=True)`, after use, all exact."""
    t = case.build()
    context = case.context_of()
    flow = case.flow(t)
    y = flow(context).rsample(case.sample_shape(context))
    flow(context).log_prob(y)
    wanted = flow(context).log_prob(y.detach().clone())
    stored = io.BytesIO()
    torch.save(t.state_dict(), stored)
    stored.seek(0)
    loaded = case.build(seed=1)
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    if list(t.parameters()):
        other = case.flow(case.build(seed=1))(context).log_prob(y)
        expect(not torch.equal(other, wanted), "expected other parameters to score otherwise")
    ways = {"deepcopy": copy.deepcopy(t), "pickle": pickle.loads(pickle.dumps(t)), "state_dict": loaded}
    for way, new in ways.items():
        found = case.flow(new)(context).log_prob(y.detach())
        expect(torch.equal(found, wanted), f"expected the same scores after {way}; got others")
    flows = {"deepcopy": copy.deepcopy(flow), "pickle": pickle.loads(pickle.dumps(flow))}
    for way, new_flow in flows.items():
        found = new_flow(context).log_prob(y.detach())
        expect(torch.equal(found, wanted), f"expected the same scores of a flow after {way}; got others")
        with torch.no_grad():
            for parameter in new_flow.parameters():
                parameter += 1
        found = flow(context).log_prob(y.detach())
        expect(torch.equal(found, wanted), f"expected {way} to share nothing; got scores that follow a copy")


def nothing_remembered_in_eval(case: Case) -> None:
    """7. In evaluation mode scoring and sampling change no state, and a score depends on no earlier one."""
    t = case.build()
    state = {name: value.clone() for name, value in t.state_dict().items()}
    context = case.context_of()
    d = case.flow(t)(context)
    shape = case.sample_shape(context)
    y, other = d.sample(shape), d.sample(shape)
    found = []
    for value in (y, other, y):
        torch.manual_seed(0)
        found.append(d.log_prob(value.clone()).detach())
    expect(torch.equal(found[0], found[2]), "expected the same scores of the same values later; got others")
    for name, value in t.state_dict().items():
        expect(torch.equal(value, state[name]), f"expected {name} unchanged in evaluation mode; it changed")
