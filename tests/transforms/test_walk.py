"""The walk through a flow's layers: it opens what composes them, and adds up to the flow itself."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.training.non_finite import first_non_finite
from pyro_flows.transforms.walk import Walk

from ..cases.registry import CASES

COMPOSED = (
    "chain-mixed",
    "chain-nested",
    "chain-context",
    "inverse-context",
    "bound-in-chain",
    "multiscale",
    "glow-context",
)


@pytest.mark.parametrize("name", COMPOSED)
def test_adds_up_to_the_transform(name):
    case = CASES[name]
    t = case.build(torch.float64)
    context = case.context_of((5,), torch.float64)
    y = t.forward_and_log_det(case.noise(t, (5,), torch.float64), context)[0]
    walk, total, names = Walk(t, y, context, name=""), 0, []
    for visit in walk:
        total = total + visit.score()[1]
        names.append(visit.name)
        module = t.get_submodule(visit.name.removeprefix("."))
        assert module is visit.layer or module.inv is visit.layer
        assert not isinstance(visit.layer, pf.Chain | tr.Multiscale)
    torch.testing.assert_close((walk.x, total), t.inverse_and_log_det(y, context))
    assert len(names) == len(set(names)) > 1


def test_layers_left_alone_are_scored_and_others_may_be_replaced():
    chain, y = pf.Chain([tr.ActNorm(3), tr.reverse(3), tr.DiagonalScaling(3)]).eval(), torch.randn(5, 3)
    walk = Walk(chain, y)
    for visit in walk:
        if isinstance(visit.layer, tr.Permutation):
            visit.x = visit.y  # in place of the permutation
    assert torch.equal(walk.x, y)


def _poisoned(module: torch.nn.Module) -> None:
    module.register_forward_hook(lambda module, inputs, output: output * float("nan"))


def test_a_nan_is_put_down_to_the_layer_that_made_it():
    flow = pf.Flow(pf.glow((2, 4, 4), depth=2, width=4)).eval()
    couplings = [(n, m) for n, m in flow.named_modules() if isinstance(m, tr.Coupling)]
    y = flow().sample((3,))
    assert first_non_finite(flow, y) == "a sum over rows or layers"
    name, layer = couplings[1]
    _poisoned(layer.conditioner)
    assert first_non_finite(flow, y).startswith(f"the layer {name} (Coupling")


def test_inverses_of_chains_are_opened():
    flow = pf.Flow(pf.real_nvp(3, depth=3).inv).eval()
    _poisoned(flow.transform.transform[1].conditioner)
    y = torch.randn(4, 3)
    assert first_non_finite(flow, y) == "the layer transform.transform.parts.1 (Coupling.inv)"
