"""The cases of linear maps: each matrix, on vectors and on images."""

from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Affine
from pyro_flows.matrices import LU, Orthogonal, Triangular, random_rotation
from pyro_flows.nn import MLP
from pyro_flows.partitions import Halves

from .case import Case

__all__ = ["CASES"]

ROTATED = dict.fromkeys(
    ("training_on_one_tensor", "functional"), "rotated standard normal noise is the same: no step counts"
)


def _coupling() -> tr.Coupling:
    return tr.Coupling(Halves(5), Affine(0.5), MLP(3, 4, (6,), activation=nn.Tanh))


def _mixing() -> pf.Chain:
    return pf.Chain([_coupling(), tr.Linear(Orthogonal(5), bias=False), _coupling(), tr.Linear(LU(5))])


CASES = {
    "linear-lu": Case("Linear", lambda: tr.Linear(LU(4, start=random_rotation(4))), (4,), single=True),
    "linear-lu-smallest": Case("Linear", lambda: tr.Linear(LU(1)), (1,), single=True),
    "linear-lu-image": Case("Linear", lambda: tr.Linear(LU(2), event_dim=3), (2, 3, 2), single=True),
    "linear-triangular": Case("Linear", lambda: tr.Linear(Triangular(3)), single=True),
    "linear-triangular-upper": Case(
        "Linear", lambda: tr.Linear(Triangular(3, upper=True), bias=False), single=True
    ),
    "linear-orthogonal": Case("Linear", lambda: tr.Linear(Orthogonal(3)), single=True),
    "linear-orthogonal-image": Case(
        "Linear",
        lambda: tr.Linear(Orthogonal(3, 1, random=True), event_dim=3),
        (3, 1, 2),
        single=True,
        outside=ROTATED,
    ),
    "linear-inverse": Case(
        "Linear", lambda: tr.Linear(LU(3), event_dim=3, bias=False).inv, (3, 2, 1), single=True
    ),
    "linear-between-couplings": Case("Chain", _mixing, (5,)),
    "helper-householder": Case(
        "householder", lambda: tr.householder(4, 3), (4,), single=True, outside=ROTATED
    ),
    "helper-generalized-channel-permute": Case(
        "generalized_channel_permute", lambda: tr.generalized_channel_permute(3), (3, 2, 2), single=True
    ),
}
