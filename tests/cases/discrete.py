"""The cases of whole numbers: pixel values and dequantisation."""

from __future__ import annotations

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Affine
from pyro_flows.nn import MLP
from pyro_flows.partitions import Halves

from .case import Case

__all__ = ["CASES", "noise"]


def noise(size: int) -> pf.Flow:
    """A flow over (0, 1)^size, given a vector of as many elements; at first uniform."""
    couplings = [
        tr.Coupling(
            Halves(size, swap=swap),
            Affine(),
            MLP(size // 2, size, (8,), context_dim=size),
            context_dim=size,
        )
        for swap in (False, True)
    ]
    return pf.Flow([*couplings, tr.LogitPixels(0.0, levels=1, event_dim=1)], base=pf.bases.logistic(size))


ROUNDING = {
    "round_trip": "rounding loses what lies between whole numbers",
    "round_trip_float32": "rounding loses what lies between whole numbers",
    "log_det_is_jacobians": "rounding is flat",
    "gradients": "no gradient passes through rounding",
}
RANDOM = dict.fromkeys(
    (
        "training_on_one_tensor",
        "conditioners_counted",
        "copies",
        "bad_rows",
        "compiled_training",
        "functional",
        "conditional_distribution",
    ),
    "scoring draws noise; test_discrete.py sees to it with seeds",
)
PYRO = {
    "guide_transform": "whole numbers are no place for a continuous prior",
    "prior_under_autoguide": "whole numbers have no autoguide",
    "prior_under_nuts": "whole numbers have no gradients to follow",
}

CASES = {
    "pixels": Case("LogitPixels", tr.LogitPixels, (2, 2, 3)),
    "pixels-black": Case("LogitPixels", lambda: tr.LogitPixels(1e-6, levels=17), (3, 1, 2)),
    "pixels-vector": Case("LogitPixels", lambda: tr.LogitPixels(0.0, levels=1, event_dim=1)),
    "pixels-scalar": Case("LogitPixels", lambda: tr.LogitPixels(event_dim=0), ()),
    "pixels-of-flow": Case(
        "LogitPixels",
        lambda: pf.Chain([pf.real_nvp(3, depth=2, hidden=(6,)), tr.LogitPixels(1e-6, levels=4, event_dim=1)]),
        scale=0.02,  # the nets' gain and spread make more of it
        outside={"round_trip_float32": "a sigmoid loses more than 1e-4 in single precision"},
    ),
    "dequantize": Case("Dequantize", tr.Dequantize, (1, 2, 2), outside=ROUNDING | RANDOM | PYRO),
    "dequantize-flow": Case(
        "Dequantize",
        lambda: tr.Dequantize(noise(4), levels=5, event_dim=1),
        (4,),
        outside=ROUNDING | RANDOM | PYRO,
    ),
    "variational-dequantize": Case(
        "variational_dequantize",
        lambda: pf.variational_dequantize((1, 2, 4), levels=5, depth=2, width=4),
        (1, 2, 4),
        outside=ROUNDING | RANDOM | PYRO,
    ),
}
