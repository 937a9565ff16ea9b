"""Pictures of densities, samples, training, calibration: matplotlib figures, without pyplot or display."""

from .calibration import calibration
from .losses import loss_curve
from .pair_grid import pairs
from .plane import compare_2d, density, samples

__all__ = ["calibration", "compare_2d", "density", "loss_curve", "pairs", "samples"]
