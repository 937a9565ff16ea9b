"""The cases of Glow: one to three channels, one and two scales, with and without context."""

import pyro_flows as pf
from pyro_flows.elementwise import Additive

from .case import Case

__all__ = ["CASES"]


def _glow(shape, **options) -> pf.transforms.Multiscale:
    return pf.glow(shape, **{"depth": 1, "width": 4, **options})


GENTLE = 0.05  # steps compound: farther off, plain gradient steps diverge

CASES = {
    "glow": Case("glow", lambda: _glow((1, 4, 8)), (32,), scale=GENTLE),
    "glow-additive": Case(
        "glow", lambda: _glow((3, 2, 4), elementwise=Additive(), depth=2), (24,), scale=GENTLE
    ),
    "glow-context": Case(
        "glow", lambda: _glow((1, 4, 4), context_dim=2, scales=1), (16,), (2,), scale=GENTLE
    ),
    "glow-context-image": Case(
        "glow",
        lambda: _glow((1, 4, 4), context_shape=(2, 8, 6)),
        (16,),
        (2, 8, 6),
        scale=GENTLE,
        outside={"functional": "torch 2.13 has no gradient of a strided convolution's weight under vmap"},
    ),
}
