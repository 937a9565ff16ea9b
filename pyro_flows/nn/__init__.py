"""Conditioner networks: the third part of a coupling or autoregressive layer."""

from .channel_norm import ChannelNorm
from .conv import WeightNormConv
from .conv_glow import GlowNet
from .conv_residual import ConvResidualNet
from .lipschitz import LipschitzNet
from .masked import MaskedNet
from .mlp import MLP, ResidualNet
from .moments import RunningMoments
from .velocity import VelocityNet

__all__ = [
    "MLP",
    "ChannelNorm",
    "ConvResidualNet",
    "GlowNet",
    "LipschitzNet",
    "MaskedNet",
    "ResidualNet",
    "RunningMoments",
    "VelocityNet",
    "WeightNormConv",
]
