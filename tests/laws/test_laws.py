"""Every law for every case, and a case for everything that is exported."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows.testing.laws import LAWS, applies, learning, tracing

from ..cases.kinds import standing_for_all
from ..cases.registry import CASES

FAST_NUTS = ("real-nvp", "chain-mixed", "nice-context")
COMPILED = "compiled_training", "compiled_sampling"
# Run on the cases that stand for all; the others are in the slow set.
LONG = {
    law: standing_for_all({name: case for name, case in CASES.items() if applies(law, case)})
    for law in (*COMPILED, "likelihood_in_subsampled_plate", "prior_under_autoguide", "guide_transform")
} | {"prior_under_nuts": set(FAST_NUTS)}
# torch's own: the compiler takes diagonals by a deprecated check, and imports what torch.jit decorates
# when it first needs it.
OLD_CHECK = pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")
LATE_IMPORT = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


# What torch 2.9's compiler cannot trace: `vars` of others' objects, a radial flow of one dimension.
OLD_TORCH = pytest.mark.skipif(torch.__version__.startswith("2.9."), reason="torch 2.9 does not compile it")
NOT_BY_OLD_TORCH = {
    ("compiled_training", "foreign-exp"),
    ("compiled_sampling", "foreign-exp"),
    ("compiled_training", "radial-smallest"),
}


def _marks(law, name, case):
    marks = [OLD_TORCH] if (law, name) in NOT_BY_OLD_TORCH else []
    slow = law in case.slow or name not in LONG.get(law, CASES)
    return [*marks, pytest.mark.slow] if slow else marks


@pytest.mark.parametrize(
    ("law", "case"),
    [
        pytest.param(
            law,
            case,
            id=f"{law}-{name}",
            marks=_marks(law, name, case),
        )
        for law in LAWS
        for name, case in CASES.items()
        if applies(law, case)
    ],
)
def test_law(law, case):
    LAWS[law](case)


@pytest.mark.slow
@LATE_IMPORT
@OLD_CHECK
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_inductor(case):
    for law in COMPILED:
        if law not in case.outside:
            getattr(tracing, law)(case, "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_optimiser(case):
    """Law 5, with the optimisers that change parameters in other ways than the fused one."""
    if applies("training_on_one_tensor", case):
        for name in learning.OPTIMISERS:
            learning.training_on_one_tensor(case, name)


@pytest.mark.parametrize("optimiser", learning.OPTIMISERS)
@pytest.mark.parametrize("name", ["coupling", "chain-nested", "autoregressive", "glow"])
def test_every_optimiser_of_some(name, optimiser):
    learning.training_on_one_tensor(CASES[name], optimiser)


@LATE_IMPORT
@pytest.mark.parametrize("name", ["real-nvp", "act-norm"])
def test_compiled_optimiser(name):
    """Law 5, with a compiled optimiser step."""
    case = CASES[name]
    t = case.build()
    optimiser = torch.optim.Adam(t.parameters(), lr=0.05)
    learning.scored_after_steps(case, t, optimiser, torch.compile(optimiser.step, backend="aot_eager"))


def _is_transform(name):
    """Classes that are no transforms are parts of some."""
    exported = getattr(pf.transforms, name)
    return not isinstance(exported, type) or issubclass(exported, pf.FlowTransform)


@pytest.mark.parametrize("name", [*filter(_is_transform, pf.transforms.__all__), *pf.families.__all__])
def test_everything_exported_has_a_case(name):
    cases = [case for case in CASES.values() if case.of == name]
    assert cases, f"{name} has no case in tests/cases.py"
    exported = getattr(pf.transforms, name, None)
    if isinstance(exported, type):
        assert all(any(type(part) is exported for part in case.build().modules()) for case in cases)


def test_exemptions_name_laws():
    named = {law for case in CASES.values() for law in (*case.outside, *case.slow)}
    assert named <= set(LAWS)
    assert all(reason for case in CASES.values() for reason in case.outside.values())
