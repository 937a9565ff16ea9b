"""How far to trust a posterior: ArviZ, cross-validation, calibration, and a verdict in words."""

from .arviz.conversion import density_to_arviz, to_arviz
from .calibration import Calibration, calibrate
from .loo import Loo, loo
from .report import Report, judge, report

__all__ = [
    "Calibration",
    "Loo",
    "Report",
    "calibrate",
    "density_to_arviz",
    "judge",
    "loo",
    "report",
    "to_arviz",
]
