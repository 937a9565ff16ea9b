"""Normalizing flows for Pyro: density estimation and variational inference."""

from . import bases, elementwise, nn, partitions, transforms
from .families import nice, real_nvp
from .flow import Flow, FlowDistribution
from .transform import FlowTransform
from .transforms import Chain

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Flow",
    "FlowDistribution",
    "FlowTransform",
    "bases",
    "elementwise",
    "nice",
    "nn",
    "partitions",
    "real_nvp",
    "transforms",
]
