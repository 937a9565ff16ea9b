"""Learned dequantisation noise."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Size

from ..bases import logistic
from ..elementwise import Affine
from ..flow import Flow
from ..nn import GlowNet
from ..partitions import Checkerboard
from ..transform import FlowTransform
from ..transforms import Coupling, Dequantize, LogitPixels

__all__ = ["variational_dequantize"]


def variational_dequantize(
    image_shape: Sequence[int], *, levels: int = 256, depth: int = 4, width: int = 32
) -> Dequantize:
    """Dequantisation of images by noise u = σ(couplings(ε; y)) given the image y; it starts out uniform.

    Takes the place of ``Dequantize(levels=levels)`` at the end of a flow. The couplings cut a
    checkerboard, and each one's net also reads the image.

    Ho, Chen, Srinivas, Duan & Abbeel, "Flow++: Improving Flow-Based Generative Models with
    Variational Dequantization and Architecture Design", 2019, arXiv:1902.00275, section 3.1.

    Args:
        image_shape: (C, H, W) with even H and W.
        levels: how many values a pixel can have.
        depth: number of couplings.
        width: channels inside each coupling's net.

    Raises:
        ValueError: if a side is odd, or an argument is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> shape = (1, 8, 8)
        >>> parts = [pf.glow(shape, depth=1), pf.transforms.LogitPixels(), pf.variational_dequantize(shape)]
        >>> pf.Flow(parts)().log_prob(torch.randint(0, 256, (5, *shape))).shape
        torch.Size([5])
    """
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")
    shape = Size(image_shape)
    parts: list[FlowTransform] = []
    for i in range(depth):
        partition, elementwise = Checkerboard(shape, swap=i % 2 == 1), Affine()
        sides = partition.sides(shape)
        outputs = elementwise.num_params * sides[1 - i % 2][0]
        net = GlowNet(sides[i % 2], outputs, width=width, context_shape=shape)
        parts.append(Coupling(partition, elementwise, net))
    return Dequantize(Flow([*parts, LogitPixels(0.0, levels=1)], base=logistic(shape)), levels=levels)
