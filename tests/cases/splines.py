"""Cases of couplings whose map is a spline, a mixture or a power."""

from __future__ import annotations

import torch
from torch import nn

from pyro_flows import transforms as tr
from pyro_flows.elementwise import (
    Affine,
    CircularRationalQuadratic,
    Compose,
    Elementwise,
    Gaussian,
    Mixture,
    PowerTails,
    RationalQuadratic,
)
from pyro_flows.nn import MLP
from pyro_flows.partitions import Halves, Mask

from .case import Case

__all__ = ["CASES", "ROOTS", "SLOW"]

SLOW = dict.fromkeys(
    ("compiled_training", "compiled_sampling", "placement"),
    "holds, but tracing an iterative inverse takes 20 s a case: `coupling-flow-plus-plus` stands for all",
)
_ROOTS = "Newton's method ends when all rows have arrived"
ROOTS = {"sampling_reads_nothing": _ROOTS}
_IMAGE = torch.tensor([1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1], dtype=torch.bool).reshape(2, 3, 2)


def _coupling(elementwise: Elementwise, context_dim: int = 0) -> tr.Coupling:
    net = MLP(2, elementwise.num_params, (6,), context_dim=context_dim, activation=nn.Tanh)
    return tr.Coupling(Halves(3), elementwise, net, context_dim=context_dim)


def _image() -> tr.Coupling:
    spline = RationalQuadratic(3)
    net = MLP(6, 6 * spline.num_params, (6,), activation=nn.Tanh)
    return tr.Coupling(Mask(_IMAGE), spline, net)


CASES = {
    "coupling-spline": Case("Coupling", lambda: _coupling(RationalQuadratic()), single=True),
    "coupling-spline-context": Case(
        "Coupling", lambda: _coupling(RationalQuadratic(4, 3.0), 2), context=(2,), single=True
    ),
    "coupling-spline-image": Case("Coupling", _image, (2, 3, 2), single=True),
    "coupling-flow-plus-plus": Case(
        "Coupling",
        lambda: _coupling(Compose(Mixture(2), Affine())),
        single=True,
        outside={"scoring_reads_nothing": _ROOTS},
    ),
    "coupling-gaussian-mixture": Case(
        "Coupling",
        lambda: _coupling(Mixture(2, Gaussian())).inv,
        single=True,
        outside=SLOW | ROOTS,
    ),
    "coupling-power-tails": Case("Coupling", lambda: _coupling(PowerTails()), single=True),
    "coupling-circular": Case("Coupling", lambda: _coupling(CircularRationalQuadratic(4)), single=True),
}
