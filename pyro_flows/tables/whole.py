"""Whole numbers that lie further apart than doubles, or 64 bits with a sign, can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .values import Array

__all__ = ["difference", "moved", "widths"]


def difference(x: Array, origin: int) -> Array:
    """Return x − origin of 64-bit integers as doubles, rounded once."""
    above = x >= origin
    # Modulo 2⁶⁴ no difference of one sign wraps.
    bits, start = x.astype(np.uint64), np.uint64(origin % 2**64)
    gap: Array = np.where(above, bits - start, start - bits).astype(np.float64)
    return np.where(above, gap, -gap)


def widths(steps: Array) -> Array:
    """Return how many whole numbers share a cell at this distance: one, above 2⁵⁰ some doubles."""
    width: Array = np.maximum(1.0, 4 * np.spacing(np.abs(steps)))
    return width


def moved(steps: Array, origin: int, dtype: np.dtype[Any]) -> Array:
    """Return origin + steps for whole doubles, taken to the nearest number that an integer type holds."""
    info = np.iinfo(dtype)
    steps = np.clip(steps, -_below(origin - int(info.min)), _below(int(info.max) - origin))
    gap = np.abs(steps).astype(np.uint64)
    start = np.uint64(origin % 2**64)
    bits: Array = np.where(steps < 0, start - gap, start + gap)
    return bits.astype(dtype)


def _below(number: int) -> float:
    """Return the largest double that is no larger."""
    double = float(number)
    return double if int(double) <= number else float(np.nextafter(double, -np.inf))
