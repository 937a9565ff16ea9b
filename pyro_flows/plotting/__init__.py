"""Pictures of densities, samples and training: matplotlib figures, made without pyplot or a display."""

from .losses import loss_curve
from .pair_grid import pairs
from .plane import compare_2d, density, samples

__all__ = ["compare_2d", "density", "loss_curve", "pairs", "samples"]
