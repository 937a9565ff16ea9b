"""Pictures of densities, samples, images, training, calibration: figures of matplotlib, without pyplot."""

from .calibration import calibration
from .images import image_grid
from .latents import attribute_arithmetic, interpolations, reconstructions, resampled_scales
from .losses import loss_curve
from .pair_grid import pairs
from .plane import compare_2d, density, samples
from .table import compare_tables

__all__ = [
    "attribute_arithmetic",
    "calibration",
    "compare_2d",
    "compare_tables",
    "density",
    "image_grid",
    "interpolations",
    "loss_curve",
    "pairs",
    "reconstructions",
    "resampled_scales",
    "samples",
]
