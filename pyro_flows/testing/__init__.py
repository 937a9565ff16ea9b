"""The laws that every transform here obeys, for transforms of your own too: `check_transform`."""

from .case import Case, perturb
from .check import BrokenLaws, check_transform
from .laws import LAWS

__all__ = ["LAWS", "BrokenLaws", "Case", "check_transform", "perturb"]
