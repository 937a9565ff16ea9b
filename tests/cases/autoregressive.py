"""Cases of autoregressive layers, one-dimensional flows and the families made of them."""

from __future__ import annotations

from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Affine, Elementwise, RationalQuadratic
from pyro_flows.nn import MLP, MaskedNet

from .case import Case
from .splines import ROOTS, SLOW

__all__ = ["CASES"]

_SPLINE = RationalQuadratic(4)


def _layer(ranks: list[int], elementwise: Elementwise | None = None, context_dim: int = 0):
    g = elementwise or Affine()
    net = MaskedNet(ranks, g.num_params, (7, 6), context_dim=context_dim, activation=nn.Tanh)
    return tr.Autoregressive(g, net)


def _reader(elementwise: Elementwise, size: int) -> MLP:
    return MLP(2, elementwise.num_params * size, (6,), activation=nn.Tanh)


_SMALL = {"depth": 2, "hidden": (6, 5), "activation": nn.Tanh}

CASES = {
    "autoregressive": Case("Autoregressive", lambda: _layer([0, 1, 2]), single=True),
    "autoregressive-order": Case("Autoregressive", lambda: _layer([2, 0, 3, 1]), (4,), single=True),
    "autoregressive-groups": Case("Autoregressive", lambda: _layer([0, 1, 0, 1, 1]), (5,), single=True),
    "autoregressive-inverse": Case("Autoregressive", lambda: _layer([1, 2, 0]).inv, single=True),
    "autoregressive-context": Case(
        "Autoregressive", lambda: _layer([1, 0, 2], context_dim=2), context=(2,), single=True
    ),
    "autoregressive-spline": Case("Autoregressive", lambda: _layer([0, 1, 2], _SPLINE).inv, single=True),
    "monotone": Case("Monotone", lambda: tr.Monotone(_SPLINE, (3,)), single=True),
    "monotone-scalar": Case("Monotone", lambda: tr.Monotone(Affine()), (), single=True),
    "monotone-image": Case("Monotone", lambda: tr.Monotone(_SPLINE, (2, 3, 2)), (2, 3, 2), single=True),
    "monotone-context": Case(
        "Monotone",
        lambda: tr.Monotone(_SPLINE, (2,), _reader(_SPLINE, 2), context_dim=2),
        (2,),
        (2,),
        single=True,
    ),
    "maf": Case("maf", lambda: pf.maf(3, **_SMALL)),
    "maf-one": Case("maf", lambda: pf.maf(1, **_SMALL), (1,)),
    "maf-one-context": Case("maf", lambda: pf.maf(1, context_dim=2, **_SMALL), (1,), (2,)),
    "maf-norm": Case("maf", lambda: pf.maf(4, norm=tr.BatchNorm, passes=2, **_SMALL), (4,)),
    "iaf": Case("iaf", lambda: pf.iaf(3, **_SMALL)),
    "iaf-context": Case("iaf", lambda: pf.iaf(3, context_dim=2, **_SMALL), context=(2,)),
    "naf": Case(
        "naf",
        lambda: pf.naf(2, depth=1, components=3, hidden=(6,), activation=nn.Tanh),
        (2,),
        outside=SLOW | ROOTS,
    ),
    # Nets have a gain of 3, and some a spread: at the usual scale two such splines stretch by more than
    # single precision can bring back.
    "nsf": Case("nsf", lambda: pf.nsf(3, **_SMALL), scale=0.05),
    "nsf-autoregressive": Case(
        "nsf",
        lambda: pf.nsf(3, autoregressive=True, context_dim=2, **_SMALL),
        context=(2,),
        scale=0.15,
    ),
    "nsf-one": Case("nsf", lambda: pf.nsf(1, autoregressive=True, **_SMALL), (1,)),
}
