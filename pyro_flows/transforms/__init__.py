"""The transforms, one idea a file, and lowercase helpers under the names Pyro users expect."""

from .act_norm import ActNorm, act_norm
from .autoregressive import Autoregressive
from .batch_norm import BatchNorm, batch_norm
from .chain import Chain
from .coupling import Coupling, coupling
from .dequantize import Dequantize
from .foreign import Foreign
from .linear import Linear, generalized_channel_permute, householder
from .log_det import Determinant, LogDet, Roulette
from .logit_pixels import LogitPixels
from .memory.switch import save_memory
from .monotone import Monotone
from .multiscale import Multiscale
from .neural_ode import NeuralODE, Penalties
from .permutation import Permutation, permutation, random_permutation, reverse
from .planar import Planar
from .radial import Radial
from .reshape import Reshape
from .residual import Residual
from .scaling import DiagonalScaling, diagonal_scaling
from .squeeze import Squeeze
from .standardize import Standardize
from .units import Units

__all__ = [
    "ActNorm",
    "Autoregressive",
    "BatchNorm",
    "Chain",
    "Coupling",
    "Dequantize",
    "Determinant",
    "DiagonalScaling",
    "Foreign",
    "Linear",
    "LogDet",
    "LogitPixels",
    "Monotone",
    "Multiscale",
    "NeuralODE",
    "Penalties",
    "Permutation",
    "Planar",
    "Radial",
    "Reshape",
    "Residual",
    "Roulette",
    "Squeeze",
    "Standardize",
    "Units",
    "act_norm",
    "batch_norm",
    "coupling",
    "diagonal_scaling",
    "generalized_channel_permute",
    "householder",
    "permutation",
    "random_permutation",
    "reverse",
    "save_memory",
]
