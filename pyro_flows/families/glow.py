"""Glow: multiscale flows of images with invertible 1×1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Size

from ..elementwise import Affine, Elementwise
from ..matrices import LU, random_rotation
from ..nn import GlowNet
from ..partitions import Channels
from ..transform import FlowTransform
from ..transforms import ActNorm, Chain, Coupling, Linear, Multiscale, Squeeze

__all__ = ["glow"]


def _squeezed(image_shape: Sequence[int], scales: int | None) -> list[Size]:
    """Return the shape after each scale's squeeze, finest first."""
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"expected an image shape (C, H, W); got {tuple(image_shape)}")
    if scales is not None and scales < 1:
        raise ValueError(f"expected scales ≥ 1; got {scales}")
    channels, height, width = image_shape
    shapes: list[Size] = []
    while height % 2 == width % 2 == 0 and len(shapes) < (scales or 3):
        shapes.append(Squeeze().inverse_shape((channels, height, width)))
        channels, height, width = shapes[-1]
        channels = channels // 2
    if len(shapes) < (scales or 1):
        raise ValueError(
            f"expected sides that are multiples of {2 ** (scales or 1)} for {scales or 1} scales; got "
            f"{tuple(image_shape)}: pad the images, or take {len(shapes)} scales"
        )
    return shapes


def glow(
    image_shape: Sequence[int],
    *,
    scales: int | None = None,
    depth: int = 16,
    width: int = 64,
    elementwise: Elementwise | None = None,
    context_dim: int = 0,
    context_shape: Sequence[int] | None = None,
) -> Multiscale:
    """Steps of act norm, invertible 1×1 convolution and coupling at several scales: flat latents → image.

    Each scale squeezes space to depth, takes `depth` steps and leaves half of its channels to the
    noise. The latents, of event_dim 1, are one vector; `Multiscale.split` and `join` give them by
    scale. The first batch in training sets the act norms.

    Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018,
    arXiv:1807.03039.

    Args:
        image_shape: (C, H, W) of the data.
        scales: how many scales, each with half the height and width of the one before; as many as fit, at
            most 3, if None.
        depth: steps at each scale.
        width: channels inside each coupling's net.
        elementwise: the map of each coupling; `pyro_flows.elementwise.Affine` if None.
        context_dim: length of the context vector, such as a one-hot class; 0 for none.
        context_shape: (c, h, w) of a context image, in place of a vector.

    Raises:
        ValueError: if the sides do not halve `scales` times, or an argument is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.glow((3, 8, 8), depth=2, width=8))
        >>> flow().sample((5,)).shape, flow.transform.domain_shape
        (torch.Size([5, 3, 8, 8]), torch.Size([192]))
    """
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")
    if width < 1:
        raise ValueError(f"expected width ≥ 1; got {width}")
    elementwise = elementwise or Affine()

    def step(shape: Size) -> list[FlowTransform]:
        """Return one step of flow, data side last: coupling, 1×1 convolution, act norm."""
        channels, *plane = shape
        partition = Channels(shape)
        net = GlowNet(
            (channels - channels // 2, *plane),
            elementwise.num_params * (channels // 2),
            width=width,
            context_dim=context_dim,
            context_shape=context_shape,
        )
        mix = Linear(LU(channels, start=random_rotation(channels)), event_dim=3, bias=False)
        # The inverse, so that scoring multiplies by the matrix and sampling solves with it.
        return [Coupling(partition, elementwise, net), mix.inv, ActNorm(channels, event_dim=3)]

    def scale(shape: Size) -> Chain:
        steps = [part for _ in range(depth) for part in step(shape)]
        return Chain([*steps, Squeeze(Squeeze().forward_shape(shape))])

    return Multiscale([scale(shape) for shape in _squeezed(image_shape, scales)])
