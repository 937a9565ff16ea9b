"""Cases of maps near the identity: planar, radial and residual."""

from __future__ import annotations

import pyro_flows as pf
from pyro_flows import transforms as tr

from .case import Case

__all__ = ["CASES"]

CASES: dict[str, Case] = {
    "planar": Case("Planar", lambda: tr.Planar(3), single=True),
    "planar-smallest": Case("Planar", lambda: tr.Planar(1), (1,), single=True),
    "family-planar": Case("planar", lambda: pf.planar(3, depth=2, context_dim=2, hidden=(4,)), context=(2,)),
    "radial": Case("Radial", lambda: tr.Radial(3), single=True),
    "radial-smallest": Case("Radial", lambda: tr.Radial(1), (1,), single=True),
    "family-radial": Case("radial", lambda: pf.radial(2, depth=2, context_dim=1, hidden=(4,)), (2,), (1,)),
}
