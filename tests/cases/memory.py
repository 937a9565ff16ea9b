"""Chains that keep little for the backward pass, under every law."""

from __future__ import annotations

from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr

from .case import Case

__all__ = ["CASES"]

RANDOM = {"placement": "the state of the CPU's random numbers is compared, to draw again what dropout drew"}


def _chain(memory: str, **options) -> pf.Chain:
    options = {"depth": 3, "hidden": (6,), "activation": nn.Tanh} | options
    return pf.save_memory(pf.real_nvp(3, **options), memory, every=2)


CASES: dict[str, Case] = {
    "memory-checkpointed": Case(
        "save_memory", lambda: _chain("checkpointed", norm=tr.BatchNorm), outside=RANDOM
    ),
    "memory-reversible": Case(
        "save_memory",
        lambda: _chain("reversible", norm=tr.ActNorm, context_dim=2),
        context=(2,),
        outside=RANDOM,
    ),
}
