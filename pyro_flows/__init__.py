"""Normalizing flows for Pyro: density estimation and variational inference."""

from . import (
    bases,
    datasets,
    diagnostics,
    elementwise,
    infer,
    matrices,
    nn,
    ode,
    partitions,
    plotting,
    tables,
    testing,
    training,
    transforms,
)
from .citations import citation
from .ensemble import Ensemble
from .families import (
    ffjord,
    glow,
    iaf,
    maf,
    naf,
    nice,
    nsf,
    planar,
    radial,
    real_nvp,
    real_nvp_image,
    residual,
    variational_dequantize,
)
from .flow import Flow
from .flow_distribution import FlowDistribution
from .training import bits_per_dim, fit, fit_ensemble, update_statistics
from .transform import FlowTransform
from .transforms import Chain, save_memory

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Ensemble",
    "Flow",
    "FlowDistribution",
    "FlowTransform",
    "bases",
    "bits_per_dim",
    "citation",
    "datasets",
    "diagnostics",
    "elementwise",
    "ffjord",
    "fit",
    "fit_ensemble",
    "glow",
    "iaf",
    "infer",
    "maf",
    "matrices",
    "naf",
    "nice",
    "nn",
    "nsf",
    "ode",
    "partitions",
    "planar",
    "plotting",
    "radial",
    "real_nvp",
    "real_nvp_image",
    "residual",
    "save_memory",
    "tables",
    "testing",
    "training",
    "transforms",
    "update_statistics",
    "variational_dequantize",
]
