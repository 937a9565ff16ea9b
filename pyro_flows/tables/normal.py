"""Intervals under a standard normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

__all__ = ["log_mass", "log_normal", "ndtr", "squeezed", "widened"]


def ndtr(z: Tensor) -> Tensor:
    """Return Φ(z), accurate far below zero too, where torch's own is 0 from −5.5 on in single precision."""
    return 0.5 * torch.special.erfc(z * -math.sqrt(0.5))


def log_normal(z: Tensor) -> Tensor:
    """Return log φ(z)."""
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """Return log(Φ(upper) − Φ(lower)), accurate in both tails."""
    flip = lower + upper > 0  # there the complements are small, and exact
    a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_b = log_ndtr(b)
    return log_b + torch.log(-torch.expm1(log_ndtr(a) - log_b))


def squeezed(z: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the score in (lower, upper) that is as far along in it as z is in (−∞, ∞), by probability."""
    share = (log_mass(lower, upper)).exp()
    below, above = ndtr(lower) + share * ndtr(z), ndtr(-upper) + share * ndtr(-z)
    return torch.where(below < above, ndtri(below), -ndtri(above))


def widened(z: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the score that `squeezed` moved to z."""
    share = (log_mass(lower, upper)).exp()
    below, above = (ndtr(z) - ndtr(lower)) / share, (ndtr(-z) - ndtr(-upper)) / share
    return torch.where(below < above, ndtri(below.clamp(min=0)), -ndtri(above.clamp(min=0)))
