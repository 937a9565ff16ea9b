"""Cases of maps near the identity: planar, radial and residual."""

from __future__ import annotations

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.nn import LipschitzNet
from pyro_flows.transforms import Roulette

from .case import Case

__all__ = ["CASES"]

LOOPS = dict.fromkeys(
    ("compiled_sampling", "sampling_reads_nothing"), "how many iterations there are depends on the data"
)
LOOPS_IN_SCORING = {
    "compiled_training": LOOPS["compiled_sampling"],
    "functional": LOOPS["compiled_sampling"],
    "scoring_reads_nothing": LOOPS["compiled_sampling"],
}
NOISE = dict.fromkeys(
    (
        "round_trip",
        "round_trip_float32",
        "log_det_is_jacobians",
        "rows_are_independent",
        "training_on_one_tensor",
        "copies",
        "bad_rows",
        "compiled_training",
        "functional",
        "conditional_distribution",
    ),
    "log-densities are random, by a random number of terms",
)
ROOTS = {"scoring_reads_nothing": "Newton's method ends when all rows have arrived"}
TERMS = {"scoring_reads_nothing": "the number of terms is drawn on the host"}


def _residual(size: int = 3, hidden=(6,), **options) -> tr.Residual:
    return tr.Residual(LipschitzNet(size, hidden, **{"coefficient": 0.8} | options))


def _roulette() -> tr.Residual:
    return tr.Residual(LipschitzNet(3, (5, 4), coefficient=0.8), log_det=Roulette())


CASES: dict[str, Case] = {
    "planar": Case("Planar", lambda: tr.Planar(3), single=True, outside=ROOTS),
    "planar-smallest": Case("Planar", lambda: tr.Planar(1), (1,), single=True, outside=ROOTS),
    "family-planar": Case(
        "planar", lambda: pf.planar(3, depth=2, context_dim=2, hidden=(4,)), context=(2,), outside=ROOTS
    ),
    "radial": Case("Radial", lambda: tr.Radial(3), single=True),
    "radial-smallest": Case("Radial", lambda: tr.Radial(1), (1,), single=True),
    "family-radial": Case("radial", lambda: pf.radial(2, depth=2, context_dim=1, hidden=(4,)), (2,), (1,)),
    "residual": Case("Residual", _residual, single=True, outside=LOOPS),
    "residual-smallest": Case("Residual", lambda: _residual(1, (4, 3)), (1,), single=True, outside=LOOPS),
    "residual-inverse": Case(
        "Residual", lambda: _residual(2, (4, 3)).inv, (2,), single=True, outside=LOOPS_IN_SCORING
    ),
    "residual-roulette": Case("Residual", _roulette, outside=LOOPS | NOISE | TERMS),
    "family-residual": Case(
        "residual",
        lambda: pf.residual(2, depth=2, hidden=(5,), context_dim=2, coefficient=0.8),
        (2,),
        (2,),
        outside=LOOPS,
    ),
}
