"""Every law for every case, and a case for everything that is exported."""

import pytest
import torch

import pyro_flows as pf

from ..cases.kinds import standing_for_all
from ..cases.registry import CASES
from . import core as laws
from . import pyro_laws as laws_pyro
from . import reads as laws_reads
from . import tracing as laws_tracing


def _applies(law, case) -> bool:
    about = laws.ABOUT.get(law)
    return law.__name__ not in case.outside and (about is None or about(case.example))


ALL_LAWS = {law.__name__: law for law in (*laws.LAWS, *laws_reads.LAWS, *laws_tracing.LAWS, *laws_pyro.LAWS)}
FAST_NUTS = ("real-nvp", "chain-mixed", "nice-context")
COMPILED = laws_tracing.compiled_training, laws_tracing.compiled_sampling
# Run on the cases that stand for all; the others are in the slow set.
LONG = {
    law.__name__: standing_for_all({name: case for name, case in CASES.items() if _applies(law, case)})
    for law in (
        *COMPILED,
        laws_pyro.likelihood_in_subsampled_plate,
        laws_pyro.prior_under_autoguide,
        laws_pyro.guide_transform,
    )
}
# torch's own: the compiler takes diagonals by a deprecated check, and imports what torch.jit decorates
# when it first needs it.
OLD_CHECK = pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")
LATE_IMPORT = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


def _is_slow(law, name, case) -> bool:
    return law.__name__ in case.slow or name not in LONG.get(law.__name__, CASES)


@pytest.mark.parametrize(
    ("law", "case"),
    [
        pytest.param(
            law,
            case,
            id=f"{law.__name__}-{name}",
            marks=pytest.mark.slow if _is_slow(law, name, case) else (),
        )
        for law in ALL_LAWS.values()
        for name, case in CASES.items()
        if _applies(law, case)
    ],
)
def test_law(law, case):
    law(case)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name in FAST_NUTS else pytest.mark.slow)
        for name, case in CASES.items()
        if _applies(laws_pyro.prior_under_nuts, case)
    ],
)
def test_prior_under_nuts(case):
    laws_pyro.prior_under_nuts(case)


@pytest.mark.slow
@LATE_IMPORT
@OLD_CHECK
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_inductor(case):
    for law in COMPILED:
        if law.__name__ not in case.outside:
            law(case, "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_optimiser(case):
    """Law 5, with the optimisers that change parameters in other ways than the fused one."""
    if _applies(laws.training_on_one_tensor, case):
        for name in laws.OPTIMISERS:
            laws.training_on_one_tensor(case, name)


@pytest.mark.parametrize("optimiser", laws.OPTIMISERS)
@pytest.mark.parametrize("name", ["coupling", "chain-nested", "autoregressive", "glow"])
def test_every_optimiser_of_some(name, optimiser):
    laws.training_on_one_tensor(CASES[name], optimiser)


@LATE_IMPORT
@pytest.mark.parametrize("name", ["real-nvp", "act-norm"])
def test_compiled_optimiser(name):
    """Law 5, with a compiled optimiser step."""
    case = CASES[name]
    t = case.build()
    optimiser = torch.optim.Adam(t.parameters(), lr=0.05)
    laws.scored_after_steps(case, t, optimiser, torch.compile(optimiser.step, backend="aot_eager"))


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
    assert named <= {*ALL_LAWS, laws_pyro.prior_under_nuts.__name__}
    assert all(reason for case in CASES.values() for reason in case.outside.values())
