"""Two-dimensional toy densities: Pyro distributions with exact samples and exact log-densities."""

from .checkerboard import Checkerboard
from .gaussians import EightGaussians
from .moons import TwoMoons
from .pinwheel import Pinwheel
from .rings import Rings
from .spirals import Spirals

__all__ = [
    "Checkerboard",
    "EightGaussians",
    "Pinwheel",
    "Rings",
    "Spirals",
    "TwoMoons",
]
