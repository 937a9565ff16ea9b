"""Real NVP of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Size

from ..elementwise import Affine
from ..nn import ConvResidualNet
from ..partitions import Channels, Checkerboard
from ..partitions.base import TwoSided
from ..transform import FlowTransform
from ..transforms import BatchNorm, Chain, Coupling, Multiscale, Squeeze

__all__ = ["real_nvp_image"]


def real_nvp_image(
    image_shape: Sequence[int],
    *,
    scales: int | None = None,
    blocks: int = 2,
    width: int = 16,
    context_dim: int = 0,
    context_shape: Sequence[int] | None = None,
    norm: Callable[..., FlowTransform] | None = BatchNorm,
    checkerboard: type[TwoSided] = Checkerboard,
) -> Multiscale:
    """Affine couplings at several scales: flat noise (event_dim 1) → image (event_dim 3).

    Each scale has three couplings of a checkerboard, a squeeze and three couplings of channels, and
    leaves half of its channels to the noise; the last one leaves all. If the last scale's image has an
    odd side, that scale has three couplings of channels only.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803.

    Args:
        image_shape: (C, H, W).
        scales: how many scales; as many as fit, at most 3, if None.
        blocks: residual blocks in each coupling's net; the paper has 4, and 8 for CIFAR-10.
        width: channels inside the first scale's nets, doubled at each squeeze; the paper has 32, and
            64 for CIFAR-10.
        context_dim: length of the context vector, such as a one-hot class; 0 for none.
        context_shape: (c, h, w) of a context image, in place of a vector.
        norm: what stands between the couplings and next to the data, called with the number of
            channels and ``event_dim=3``: `pyro_flows.transforms.BatchNorm`,
            `pyro_flows.transforms.ActNorm` or None.
        checkerboard: how the two colours of a checkerboard are gathered:
            `pyro_flows.partitions.Checkerboard` or `pyro_flows.partitions.CheckerboardDepth`.

    Raises:
        ValueError: if the image is too small or odd for so many scales, or an argument is out of its
            range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.real_nvp_image((1, 8, 8), blocks=1, width=8))
        >>> flow().sample((5,)).shape, flow().log_prob(torch.randn(5, 1, 8, 8)).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    def couplings(cut: type[TwoSided], shape: Size, count: int, width: int) -> list[FlowTransform]:
        """Return couplings and norms, in the data's order."""
        parts: list[FlowTransform] = []
        for i in range(count):
            partition = cut(shape, swap=i % 2 == 1)
            sides, elementwise = partition.sides(shape), Affine()
            net = ConvResidualNet(
                sides[i % 2],
                elementwise.num_params * sides[1 - i % 2][0],
                width=width,
                blocks=blocks,
                context_dim=context_dim,
                context_shape=context_shape,
            )
            if norm is not None:
                parts.append(norm(shape[0], event_dim=3))
            parts.append(Coupling(partition, elementwise, net))
        return parts

    def scale(shape: Size, width: int, last: bool) -> Chain:
        """Return the couplings of one scale, with a checkerboard's before and channels' after the squeeze."""
        if not _is_even(shape):
            return Chain(reversed(couplings(Channels, shape, 3, width)))
        parts = couplings(checkerboard, shape, 3, width)
        parts += [Squeeze(shape), *couplings(Channels, Squeeze().inverse_shape(shape), 3, 2 * width)]
        if not last:  # the next scale gets one side of a checkerboard, not the upper rows
            parts += [Squeeze(shape).inv, Squeeze(shape, alternating=True)]
        return Chain(reversed(parts))

    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"expected image_shape as (C, H, W); got {tuple(image_shape)}")
    if blocks < 0 or width < 1:
        raise ValueError(f"expected blocks ≥ 0 and width ≥ 1; got {blocks} and {width}")
    shapes = _shapes(Size(image_shape), scales)
    return Multiscale([scale(shape, width * 2**i, i + 1 == len(shapes)) for i, shape in enumerate(shapes)])


def _is_even(shape: Size) -> bool:
    return shape[1] % 2 == 0 and shape[2] % 2 == 0


def _shapes(image_shape: Size, scales: int | None) -> list[Size]:
    """Return the shape of the image that each scale is given, finest first."""
    if scales is not None and scales < 1:
        raise ValueError(f"expected scales ≥ 1; got {scales}")
    shape, shapes = image_shape, [image_shape]
    while len(shapes) < (scales or 3) and _is_even(shape):
        channels, height, width = Squeeze().inverse_shape(shape)
        shape = Size([channels // 2, height, width])
        shapes.append(shape)
    if not _is_even(shape) and shape[0] == 1:
        _, height, width = shape
        padded = height + height % 2, width + width % 2
        raise ValueError(f"expected an image of even height and width; got {tuple(shape)}: pad to {padded}")
    if len(shapes) < (scales or 1):
        raise ValueError(
            f"expected at most {len(shapes)} scales for {tuple(image_shape)}, as each halves height and "
            f"width; got {scales}"
        )
    return shapes
