"""Warnings that point at the user's own code."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pyro
import torch

__all__ = ["warn_caller"]


def warn_caller(message: str) -> None:
    """Warn at the line, outside this package, Pyro and torch, that the present call comes from."""
    inside = tuple(str(Path(str(package.__file__)).parent) for package in (pyro, torch))
    inside += (str(Path(__file__).parents[1]),)
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, stacklevel=depth)
