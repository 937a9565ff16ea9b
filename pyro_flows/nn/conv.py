"""The convolution of image nets, and how they take batches and context."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Size, Tensor, nn
from torch.nn import functional

from .._tracing import is_traced

__all__ = [
    "ImageContext",
    "VectorContext",
    "WeightNormConv",
    "add_context",
    "as_images",
    "channels_last",
    "context_layer",
]


class WeightNormConv(nn.Module):
    r"""h ↦ (g · V/‖V‖) ∗ h + b, with a norm for each output channel and zeros around the image.

    Salimans & Kingma, "Weight Normalization", 2016, arXiv:1602.07868. Copies and pickles, which
    torch's own two versions do not both do, and may start at zero: g = 0 leaves the direction V.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: side of the filter, odd.
        bias: whether to add b; of no use right before a batch norm.
        zero: start with g = 0 and b = 0.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pf.nn.WeightNormConv(3, 8, zero=True)(torch.randn(5, 3, 4, 6)).shape
        torch.Size([5, 8, 4, 6])
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True, zero: bool = False
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"expected an odd kernel, which keeps the image's size; got {kernel}")
        self.direction = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_uniform_(self.direction, a=sqrt(5))
        length = self.direction.detach().flatten(1).norm(dim=1)
        self.scale = nn.Parameter(torch.zeros(outputs) if zero else length)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def weight(self) -> Tensor:
        """Return g · V/‖V‖, of shape (outputs, inputs, kernel, kernel)."""
        # A direction of zeros gives zeros, not a division by them.
        length = torch.linalg.vector_norm(self.direction, dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        return self.direction * (self.scale.reshape(-1, 1, 1, 1) / length)

    def forward(self, h: Tensor) -> Tensor:
        """Return images (N, outputs, H, W) for images (N, inputs, H, W)."""
        weight = self.weight()
        # A compiler expects other strides of a convolution than it sometimes has, and chooses its own.
        if weight.shape[-1] > 1 or is_traced():
            return functional.conv2d(h, weight, self.bias, padding=weight.shape[-1] // 2)
        # A matrix product over pixels, faster than the convolution in the channels-last layout.
        return functional.linear(h.movedim(1, -1), weight[..., 0, 0], self.bias).movedim(-1, 1)

    def extra_repr(self) -> str:
        """Name the sizes."""
        outputs, inputs, kernel, _ = self.direction.shape
        return f"{inputs}, {outputs}, {kernel}, bias={self.bias is not None}"


class VectorContext(nn.Module):
    """c ↦ V c, the same at every pixel: (*batch, context_dim) → (*batch, width, 1, 1)."""

    def __init__(self, context_dim: int, width: int) -> None:
        super().__init__()
        self.context_shape = Size([context_dim])
        self.linear = nn.Linear(context_dim, width, bias=False)

    def forward(self, context: Tensor) -> Tensor:
        """Return V c."""
        return self.linear(context)[..., None, None]


class ImageContext(nn.Module):
    """An image resized to a net's plane without losing pixels: (*batch, c, h, w) → (*batch, width, H, W).

    A context that is larger by whole factors a and b gives each position of the plane its a × b
    pixels, by a convolution with that stride; any other one is first pooled to the nearest such size.

    Args:
        context_shape: (c, h, w).
        plane: (H, W) of the images that the net reads.
        width: number of output channels.
    """

    def __init__(self, context_shape: Sequence[int], plane: Sequence[int], width: int) -> None:
        super().__init__()
        self.context_shape = Size(context_shape)
        if len(self.context_shape) != 3:
            raise ValueError(f"expected a context_shape (c, h, w); got {tuple(context_shape)}")
        (height, row), (h, w) = plane, self.context_shape[1:]
        factors = max(1, h // height), max(1, w // row)
        self.pooled = factors[0] * height, factors[1] * row
        self.conv = nn.Conv2d(self.context_shape[0], width, factors, stride=factors, bias=False)

    def forward(self, context: Tensor) -> Tensor:
        """Return the context as the net adds it."""
        c, batch = as_images(context)
        if tuple(c.shape[2:]) != self.pooled:
            c = functional.adaptive_avg_pool2d(c, self.pooled)
        c = self.conv(c)
        return c.reshape(batch + c.shape[1:])


def context_layer(
    width: int, plane: Sequence[int], *, context_dim: int = 0, context_shape: Sequence[int] | None = None
) -> VectorContext | ImageContext | None:
    """Return what maps a context vector, or a context image, to something that `width` channels can add.

    Raises:
        ValueError: if both kinds of context are asked for.
    """
    if context_dim and context_shape is not None:
        raise ValueError(f"expected context_dim or context_shape; got both {context_dim} and {context_shape}")
    if context_shape is not None:
        return ImageContext(context_shape, plane, width)
    return VectorContext(context_dim, width) if context_dim else None


def as_images(x: Tensor) -> tuple[Tensor, Size]:
    """Return x with one batch dimension, channels last in memory, and its batch shape."""
    batch = x.shape[:-3]
    return channels_last(x.reshape(batch.numel(), *x.shape[-3:])), batch


def channels_last(h: Tensor) -> Tensor:
    """Return the images laid out as convolutions like them best: 1.4 to 2.5 × faster here, and nets keep it.

    With one channel the layout cannot be told from the other, and operations may choose that.
    """
    # Not `contiguous(memory_format=…)`, which vmap refuses.
    return h.movedim(1, -1).contiguous().movedim(-1, 1)


def add_context(
    h: Tensor, batch: Size, layer: VectorContext | ImageContext | None, context: Tensor | None
) -> tuple[Tensor, Size]:
    """Add `layer(context)`, broadcast from the right, to the images h of batch shape `batch`.

    Returns:
        images with one batch dimension, and their batch shape.

    Raises:
        ValueError: if a context is needed and missing.
    """
    if layer is None:
        return h, batch
    if context is None:
        shape = tuple(layer.context_shape)
        raise ValueError(f"expected a context of event shape {shape}; got none: use .condition(context)")
    h = h.reshape(batch + h.shape[1:]) + layer(context)
    batch = h.shape[:-3]
    return h.reshape(batch.numel(), *h.shape[-3:]), batch
