"""Monotone scalar maps: the second part of a coupling or autoregressive layer."""

from .additive import Additive
from .affine import Affine
from .base import Elementwise
from .circular import CircularRationalQuadratic
from .rational_quadratic import RationalQuadratic

__all__ = ["Additive", "Affine", "CircularRationalQuadratic", "Elementwise", "RationalQuadratic"]
