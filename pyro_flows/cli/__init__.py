"""The command line: fit, score, sample and plot a flow of a table, and a demonstration."""

from .main import main

__all__ = ["main"]
