"""Variational inference: flows as posteriors of Pyro models."""

from .auto_flow import AutoFlow
from .density import LogDensity, log_joint

__all__ = ["AutoFlow", "LogDensity", "log_joint"]
