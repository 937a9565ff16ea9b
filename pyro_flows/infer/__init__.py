"""Variational inference: flows as posteriors of Pyro models."""

from .amortized import AutoAmortized
from .auto_flow import AutoFlow
from .density import LogDensity, log_joint
from .elbo import DRegELBO, JitPathELBO, PathELBO
from .evaluation import Evaluation, evaluate
from .fit_vi import fit_vi
from .importance import Importance, importance
from .psis import Smoothed, psis
from .vi_settings import VIHistory, VISettings
from .widening import Widened, widen

__all__ = [
    "AutoAmortized",
    "AutoFlow",
    "DRegELBO",
    "Evaluation",
    "Importance",
    "JitPathELBO",
    "LogDensity",
    "PathELBO",
    "Smoothed",
    "VIHistory",
    "VISettings",
    "Widened",
    "evaluate",
    "fit_vi",
    "importance",
    "log_joint",
    "psis",
    "widen",
]
