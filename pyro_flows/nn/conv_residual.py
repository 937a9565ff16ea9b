"""The convolutional residual net of Real NVP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .channel_norm import ChannelNorm
from .conv import WeightNormConv, add_context, as_images, channels_last, context_layer
from .mlp import Activation, _build

__all__ = ["ConvResidualNet"]


class _Block(nn.Module):
    """h ↦ h + B σ(norm(A σ(norm(h)))), with 3×3 convolutions A and B."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        # No biases: the batch norms that follow would take them out again.
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range(2))
        self.convs = nn.ModuleList(WeightNormConv(width, width, bias=False) for _ in range(2))
        self.activation = _build(activation, inplace=True)

    def forward(self, h: Tensor) -> Tensor:
        """Return the block's output."""
        change = h
        for norm, conv in zip(self.norms, self.convs, strict=True):
            change = conv(self.activation(norm(change)))
        return change.add_(h)


class ConvResidualNet(nn.Module):
    r"""A convolutional residual net: o = W σ(norm(Σ_k S_k h_k)), h_{k+1} = block_k(h_k); starts at zero.

    The first convolution sees σ(norm(x)) and σ(−norm(x)); the output reads the sum of all blocks
    through 1×1 convolutions. All convolutions are weight-normed. Images of any number of batch
    dimensions; a context is added after the first convolution, as V c for a vector, or, for an image,
    by a convolution that brings it to the net's size.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803,
    section 4.1.

    Args:
        input_shape: (C, H, W) of the images that are read.
        outputs: number of output channels, parameters × active channels.
        width: number of channels inside.
        blocks: number of residual blocks, each of two 3×3 convolutions.
        context_dim: length of the context vector, 0 for none. Its batch dimensions broadcast
            against the input's from the right.
        context_shape: (c, h, w) of a context image, in place of a vector.
        activation: σ, a module class or a function.

    Raises:
        ValueError: if both kinds of context are asked for, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> net = pf.nn.ConvResidualNet((3, 8, 4), 6, width=16, blocks=2)
        >>> net(torch.randn(10, 5, 3, 8, 4)).shape
        torch.Size([10, 5, 6, 8, 4])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        outputs: int,
        *,
        width: int = 32,
        blocks: int = 4,
        context_dim: int = 0,
        context_shape: Sequence[int] | None = None,
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        channels, *plane = input_shape
        self.norm_in = ChannelNorm(channels)
        self.first = WeightNormConv(2 * channels, width, bias=False)
        self.width = width
        self.context = context_layer(width, plane, context_dim=context_dim, context_shape=context_shape)
        self.context_shape = None if self.context is None else self.context.context_shape
        self.blocks = nn.ModuleList(_Block(width, activation) for _ in range(blocks))
        self.skips = nn.ModuleList(WeightNormConv(width, width, 1, bias=False) for _ in range(blocks + 1))
        self.norm_out = ChannelNorm(width)
        self.last = WeightNormConv(width, outputs, 1, zero=True)
        self.activation = _build(activation, inplace=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the output, of shape (*batch, outputs, H, W)."""
        h, batch = as_images(x)
        h = self.norm_in(h)
        h = self.first(self.activation(channels_last(torch.cat((h, -h), 1))))
        h, batch = add_context(h, batch, self.context, context)
        total = self.skips[0](h)
        for block, skip in zip(self.blocks, self.skips[1:], strict=True):
            h = block(h)
            total = total + skip(h)
        result = self.last(self.activation(self.norm_out(total)))
        return result.reshape(batch + result.shape[1:])
