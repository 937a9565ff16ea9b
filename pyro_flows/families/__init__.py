"""Methods of the literature: lowercase factories that choose the parts."""

from .autoregressive import iaf, maf, naf
from .continuous import ffjord
from .couplings import nice, real_nvp
from .dequantization import variational_dequantize
from .glow import glow
from .images import real_nvp_image
from .planar import planar
from .radial import radial
from .residual import residual
from .splines import nsf

__all__ = [
    "ffjord",
    "glow",
    "iaf",
    "maf",
    "naf",
    "nice",
    "nsf",
    "planar",
    "radial",
    "real_nvp",
    "real_nvp_image",
    "residual",
    "variational_dequantize",
]
