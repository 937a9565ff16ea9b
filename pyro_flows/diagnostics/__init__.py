"""How far to trust a posterior: ArviZ, cross-validation, calibration, and a verdict in words."""

from .arviz.density import density_to_arviz
from .arviz.posterior import to_arviz
from .calibration import Calibration, calibrate
from .loo import Loo, loo
from .report import Report, report

__all__ = [
    "Calibration",
    "Loo",
    "Report",
    "calibrate",
    "density_to_arviz",
    "loo",
    "report",
    "to_arviz",
]
