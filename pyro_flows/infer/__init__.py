"""Variational inference: flows as posteriors of Pyro models, and how their draws weigh."""

from .auto_flow import AutoFlow
from .density import LogDensity, log_joint
from .evaluation import Evaluation, evaluate
from .importance import Importance, importance
from .psis import Smoothed, psis

__all__ = [
    "AutoFlow",
    "Evaluation",
    "Importance",
    "LogDensity",
    "Smoothed",
    "evaluate",
    "importance",
    "log_joint",
    "psis",
]
