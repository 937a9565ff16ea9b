"""Changes of a batch that leave its images as likely as they were."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["random_flips"]


def random_flips(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability ½, drawn from torch's global generator.

    For `fit(..., augment=pf.training.random_flips)`: what a batch draws there depends on the seed, the
    step and the process alone.

    Args:
        images: tensor of shape (rows, C, H, W).

    Raises:
        ValueError: if `images` has another number of dimensions.

    Example:
        >>> import torch, pyro_flows as pf
        >>> images = torch.rand(100, 1, 2, 2)
        >>> flipped = pf.training.random_flips(images)
        >>> bool(((flipped == images) | (flipped == images.flip(-1))).all())
        True
    """
    if images.dim() != 4:
        raise ValueError(f"expected images of shape (rows, C, H, W); got {tuple(images.shape)}")
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(-1), images)
