"""Methods of the literature: lowercase factories that choose the parts."""

from .couplings import nice, real_nvp

__all__ = ["nice", "real_nvp"]
