"""Partitions: which part of an event a coupling reads, and which it changes."""

from .base import Partition
from .image import Channels, Checkerboard, CheckerboardDepth
from .mask import Mask
from .vector import Alternating, Halves

__all__ = ["Alternating", "Channels", "Checkerboard", "CheckerboardDepth", "Halves", "Mask", "Partition"]
