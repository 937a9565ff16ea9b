"""`check_transform` finds what is broken, and nothing else."""

import copy
import re

import pyro
import pytest
import torch

import pyro_flows as pf
from pyro_flows.testing import LAWS, BrokenLaws, check_transform

from . import layers

SLOW = {"compiled_training", "compiled_sampling", "prior_under_nuts"}
FAST = [law for law in LAWS if law not in SLOW]

BROKEN = {
    "WrongInverse": ("round_trip", r"f⁻¹\(f\(x\)\) differs from x"),
    "CoarseInSinglePrecision": ("round_trip_float32", r"f⁻¹\(f\(x\)\) differs from x"),
    "CancelsFarAway": ("far_round_trip", r"f\(f⁻¹\(y\)\) differs from y at \|y\| = 1000"),
    "WrongLogDets": ("log_det_is_jacobians", "forward_and_log_det is not the Jacobian's log-det"),
    "LogDetOfEachElement": ("shapes", r"expected shape \(\) of log\|det dy/dx\|.*got \(3,\)"),
    "LogDetOfOneEvent": ("shapes", r"expected shape \(3,\) of log\|det dy/dx\|.*got \(\)"),
    "OnlyMatrices": ("shapes", "RuntimeError: "),
    "NoEmptyBatch": ("empty_batch", "RuntimeError: "),
    "ForgetsDtype": ("shapes", "expected torch.float64 of .*; got torch.float32"),
    "NotABuffer": ("placement", r"meta|CPU tensor of shape \(3,\)"),
    "NormalisesByTheBatch": ("rows_are_independent", "a row in a batch differs"),
    "WrongCodomain": ("values_lie_in_the_codomain", r"expected f\(x\) within the codomain"),
    "UnusedParameter": ("gradients", "expected a gradient of unused through log_prob; got none"),
    "DetachedParameter": ("gradients", "expected a gradient of shift through log_prob; got none"),
    "IgnoresContext": ("gradients", "expected a non-zero gradient of context through log_prob"),
    "KeepsItsScale": ("training_on_one_tensor", "after an optimiser step, a score differs"),
    "HoldsALambda": ("copies", r"[Pp]ickl|Can't get local object 'HoldsALambda\.__init__"),
    "CountsItsCalls": ("nothing_remembered_in_eval", "expected the same scores"),
    "UpdatesInEval": ("nothing_remembered_in_eval", "expected seen unchanged"),
    "HidesNaN": ("bad_rows", "expected NaN or ±inf for that row with nan"),
    "SpreadsNaN": ("bad_rows", "expected other rows unchanged with nan"),
    "CoarseUnderAutocast": ("mixed_precision", "expected float32 under autocast; got torch.bfloat16"),
    "MakesTensorsOnTheCPU": ("placement", r"CPU tensor of shape \(3,\)"),
    "ReadsInScoring": ("scoring_reads_nothing", r"got .* in layers.py:\d+"),
    "ReadsInSampling": ("sampling_reads_nothing", r"got .* in layers.py:\d+"),
    "NoGradientInSampling": ("guide_transform", "stayed|grad"),
}


def test_the_unbroken_layer_obeys(capsys):
    check_transform(layers.Scaling(), laws=FAST)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FAST)
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert found.pop("conditioners_counted") == "is about others"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_layer_fails_the_law(name, capsys):
    law, why = BROKEN[name]
    with pytest.raises(BrokenLaws, match=f"^{name} breaks laws:\n  {law}: ") as raised:
        check_transform(getattr(layers, name)(), laws=[law])
    assert list(raised.value.failures) == [law]
    assert re.search(why, str(raised.value))
    assert capsys.readouterr().out.startswith(f"{law:<31} FAILS: ")


@pytest.mark.parametrize("law", ["compiled_training", "functional"])
def test_a_layer_that_cannot_be_traced_fails(law):
    with pytest.raises(BrokenLaws, match=law):
        check_transform(layers.BranchesOnItsInput(), laws=[law])


def test_all_broken_laws_are_listed_and_the_first_is_the_cause():
    with pytest.raises(BrokenLaws) as raised:
        check_transform(layers.UnusedParameter(), laws=["gradients", "shapes", "functional"])
    assert list(raised.value.failures) == ["gradients", "functional"]
    assert raised.value.__cause__ is raised.value.failures["gradients"]
    assert isinstance(raised.value, AssertionError)


def test_a_law_with_a_reason_is_left_out(capsys):
    outside = {"bad_rows": "clamps its input"}
    check_transform(layers.HidesNaN(), laws=["bad_rows", "shapes"], outside=outside)
    assert capsys.readouterr().out.splitlines()[0].endswith("left out: clamps its input")


def test_nothing_is_left_behind():
    layer, generator = layers.Scaling().double(), torch.get_rng_state()
    pyro.param("mine", torch.zeros(2))
    state = copy.deepcopy(layer.state_dict())
    torch.set_default_dtype(torch.float64)
    check_transform(layer, laws=["round_trip", "training_on_one_tensor", "parameter_names", "shapes"])
    assert torch.get_default_dtype() is torch.float64
    assert torch.equal(torch.get_rng_state(), generator)
    assert set(pyro.get_param_store()) == {"mine"}
    assert all(torch.equal(state[name], value) for name, value in layer.state_dict().items())
    assert layer.training
    assert all(p.grad is None for p in layer.parameters())


def test_an_iterative_inverse_needs_a_tolerance():
    with pytest.raises(BrokenLaws):
        check_transform(layers.WrongInverse(), laws=["round_trip"])
    check_transform(layers.WrongInverse(), laws=["round_trip"], tolerance=1e-5)


def test_any_size_needs_an_event_shape():
    squeeze = pf.transforms.Squeeze()
    with pytest.raises(ValueError, match=r"expected event_shape, as the transform has no domain_shape"):
        check_transform(squeeze)
    check_transform(squeeze, (4, 1, 2), laws=["round_trip", "shapes", "rows_are_independent"])


def test_contexts_chains_and_bounded_sides(capsys):
    exp = pf.transforms.Foreign(torch.distributions.transforms.ExpTransform())
    for t, shape in ((pf.real_nvp(3, depth=2, context_dim=2), None), (exp, ()), (exp.inv, ())):
        laws = ["round_trip", "shapes", "log_det_is_jacobians", "bad_rows", "far_round_trip"]
        check_transform(t, shape, laws=laws)
    assert capsys.readouterr().out.count("is about others") == 2


def test_what_cannot_be_copied_cannot_be_checked():
    layer = layers.Scaling()
    layer.made = layer.log_scale * 2  # a tensor with a graph has no deepcopy
    with pytest.raises(BrokenLaws, match="copies: RuntimeError: Only Tensors created explicitly"):
        check_transform(layer)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((torch.nn.Linear(3, 3),), TypeError, "expected a FlowTransform; got Linear"),
        ((layers.Scaling(), (4,)), ValueError, r"expected event_shape \(3,\); got \(4,\)"),
        ((pf.transforms.Foreign(torch.distributions.SigmoidTransform()).inv, ()), ValueError, "domain"),
    ],
)
def test_errors(arguments, error, match):
    with pytest.raises(error, match=match):
        check_transform(*arguments)


@pytest.mark.parametrize("keyword", [{"laws": ["gravity"]}, {"outside": {"gravity": "in orbit"}}])
def test_unknown_laws(keyword):
    with pytest.raises(ValueError, match=r"expected laws among round_trip, .*; got gravity"):
        check_transform(layers.Scaling(), **keyword)
