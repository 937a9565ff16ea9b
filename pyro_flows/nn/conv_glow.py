"""The convolutional net of Glow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conv import add_context, as_images, context_layer
from .mlp import Activation, _build

__all__ = ["GlowNet", "ZeroConv"]


class ZeroConv(nn.Module):
    r"""h ↦ (W ∗ h + b) · exp(3 s) with a 3×3 filter, W, b and s starting at zero and one s a channel.

    The scale lets a channel grow fast once it is of use. It is applied to W and b, so that no image
    need be kept for its gradient.

    Kingma & Dhariwal 2018, arXiv:1807.03039, their released code.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, h: Tensor) -> Tensor:
        """Return images (N, outputs, H, W) for images (N, inputs, H, W)."""
        scale = (3 * self.log_scale).exp()
        return functional.conv2d(h, self.weight * scale.reshape(-1, 1, 1, 1), self.bias * scale, padding=1)


class GlowNet(nn.Module):
    r"""o = Z ∗ σ(W₂ σ(W₁ ∗ x + V c + b₁) + b₂): 3×3, 1×1 and 3×3 filters, the last of them a `ZeroConv`.

    Images of any number of batch dimensions; a context vector is added after the first convolution
    as V c, a context image by a convolution that brings it to the net's size.

    Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018,
    arXiv:1807.03039, section 3.3.

    Args:
        input_shape: (C, H, W) of the images that are read.
        outputs: number of output channels, parameters × active channels.
        width: number of channels inside.
        context_dim: length of the context vector, 0 for none. Its batch dimensions broadcast
            against the input's from the right.
        context_shape: (c, h, w) of a context image, in place of a vector.
        activation: σ, a module class or a function.

    Raises:
        ValueError: if both kinds of context are asked for, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pf.nn.GlowNet((2, 8, 4), 6, width=16)(torch.randn(10, 5, 2, 8, 4)).shape
        torch.Size([10, 5, 6, 8, 4])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        outputs: int,
        *,
        width: int = 64,
        context_dim: int = 0,
        context_shape: Sequence[int] | None = None,
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        channels, *plane = input_shape
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.context = context_layer(width, plane, context_dim=context_dim, context_shape=context_shape)
        self.context_shape = None if self.context is None else self.context.context_shape
        self.middle = nn.Linear(width, width)  # a 1×1 convolution, faster as a product over pixels
        self.last = ZeroConv(width, outputs)
        self.activation = _build(activation, inplace=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the output, of shape (*batch, outputs, H, W)."""
        h, batch = as_images(x)
        h, batch = add_context(self.first(h), batch, self.context, context)
        h = self.activation(h).movedim(1, -1)
        # Over pixels in one dimension: torch changes a view in place, as the activation does, at great cost.
        pixels = self.activation(self.middle(h.flatten(0, 2)))
        result = self.last(pixels.reshape(h.shape).movedim(-1, 1))
        return result.contiguous().reshape(batch + result.shape[1:])
