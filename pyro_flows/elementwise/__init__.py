"""Monotone scalar maps: the second part of a coupling or autoregressive layer."""

from ._tails import Gaussian, Logistic, StandardDistribution
from .additive import Additive
from .affine import Affine
from .base import Elementwise
from .circular import CircularRationalQuadratic
from .compose import Compose
from .mixture import Mixture, MixtureCDF
from .power import PowerTails
from .rational_quadratic import RationalQuadratic

__all__ = [
    "Additive",
    "Affine",
    "CircularRationalQuadratic",
    "Compose",
    "Elementwise",
    "Gaussian",
    "Logistic",
    "Mixture",
    "MixtureCDF",
    "PowerTails",
    "RationalQuadratic",
    "StandardDistribution",
]
