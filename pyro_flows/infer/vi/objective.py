"""The bound that a guide's fit maximises."""

from __future__ import annotations

from typing import Any

from ..guides.auto_flow import AutoFlow
from ..guides.auto_mixture import AutoMixture
from ..guides.bound import Bound
from ..guides.mixture_bound import MixtureBound
from ..model.density import LogDensity
from .vi_settings import VISettings

__all__ = ["objective_of"]


def objective_of(guide: AutoFlow | AutoMixture, density: LogDensity, settings: VISettings) -> Bound:
    """Return the evidence lower bound of a guide's draws, and its gradient."""
    how: Any = {
        "path_gradient": settings.path_gradient,
        "compile": settings.compile,
        "together": density.runs.together,
    }
    if isinstance(guide, AutoMixture):
        return MixtureBound(density, guide, **how)
    return Bound(density, guide.get_transform(), guide.get_base_dist(), **how)
