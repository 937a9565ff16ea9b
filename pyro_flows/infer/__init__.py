"""Variational inference: flows as posteriors of Pyro models."""

from .auto_flow import AutoFlow
from .density import LogDensity, log_joint
from .elbo import DRegELBO, JitPathELBO, PathELBO
from .evaluation import Evaluation, evaluate
from .importance import Importance, importance
from .psis import Smoothed, psis

__all__ = [
    "AutoFlow",
    "DRegELBO",
    "Evaluation",
    "Importance",
    "JitPathELBO",
    "LogDensity",
    "PathELBO",
    "Smoothed",
    "evaluate",
    "importance",
    "log_joint",
    "psis",
]
