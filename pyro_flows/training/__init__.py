"""Maximum likelihood on well-kept libraries; a loop of one's own or Pyro's SVI will always do too."""

from .fit import fit
from .run import NonFiniteLoss
from .settings import History, Settings
from .statistics import recompute_statistics

__all__ = ["History", "NonFiniteLoss", "Settings", "fit", "recompute_statistics"]
