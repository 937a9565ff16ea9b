"""Conditioner networks: the third part of a coupling or autoregressive layer."""

from .conv import WeightNormConv
from .conv_glow import GlowNet
from .dense import DenseNet, ResidualNet
from .masked import MaskedNet
from .moments import RunningMoments, batch_moments
from .velocity import VelocityNet

__all__ = [
    "DenseNet",
    "GlowNet",
    "MaskedNet",
    "ResidualNet",
    "RunningMoments",
    "VelocityNet",
    "WeightNormConv",
    "batch_moments",
]
