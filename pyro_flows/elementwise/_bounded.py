"""Positive numbers within bounds."""

from __future__ import annotations

from torch import Tensor


def bounded_exp(raw: Tensor, log_bound: float) -> Tensor:
    """Return exp(a / (1 + |a| / b)), which lies within (e⁻ᵇ, eᵇ) and is 1 where a is 0."""
    return (raw / (1 + raw.abs() / log_bound)).exp()
