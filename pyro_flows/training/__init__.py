"""Training on well-kept libraries; a loop of one's own or Pyro's SVI will always do too."""

from ..loop.clipped_step import NonFiniteLoss
from .augment import random_flips
from .bits import bits_per_dim
from .ensemble import fit_ensemble
from .fit import fit
from .flow_matching import FlowMatching, optimal_transport
from .likelihood import negative_log_likelihood
from .penalised import PenalisedLikelihood
from .settings import History, Settings
from .statistics import update_statistics

__all__ = [
    "FlowMatching",
    "History",
    "NonFiniteLoss",
    "PenalisedLikelihood",
    "Settings",
    "bits_per_dim",
    "fit",
    "fit_ensemble",
    "negative_log_likelihood",
    "optimal_transport",
    "random_flips",
    "update_statistics",
]
