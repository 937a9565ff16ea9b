"""Methods of the literature: lowercase factories that choose the parts."""

from .continuous import ffjord
from .couplings import nice, real_nvp

__all__ = ["ffjord", "nice", "real_nvp"]
