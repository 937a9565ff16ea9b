"""Monotone scalar maps: the second part of a coupling or autoregressive layer."""

from .additive import Additive
from .affine import Affine
from .base import Elementwise

__all__ = ["Additive", "Affine", "Elementwise"]
