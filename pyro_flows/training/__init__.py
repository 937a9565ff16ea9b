"""Maximum likelihood on well-kept libraries; a loop of one's own or Pyro's SVI will always do too."""

from .augment import random_flips
from .bits import bits_per_dim
from .fit import fit
from .likelihood import negative_log_likelihood
from .run import NonFiniteLoss
from .settings import History, Settings
from .statistics import recompute_statistics

__all__ = [
    "History",
    "NonFiniteLoss",
    "Settings",
    "bits_per_dim",
    "fit",
    "negative_log_likelihood",
    "random_flips",
    "recompute_statistics",
]
