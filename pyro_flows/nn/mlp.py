"""Dense conditioner networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.nn.functional import linear

__all__ = ["MLP", "ResidualNet"]

Activation = type[nn.Module] | Callable[[Tensor], Tensor]


def _with_context(h: Tensor, layer: nn.Linear | None, context: Tensor | None) -> Tensor:
    """Add V c to the first layer's W x + b: computed once for each context, and broadcast."""
    if layer is None:
        return h
    if context is None:
        raise ValueError(
            f"expected a context of {layer.in_features} elements; got none: use .condition(context)"
        )
    return h + layer(context)


def _context_layer(context_dim: int, width: int) -> nn.Linear | None:
    return nn.Linear(context_dim, width, bias=False) if context_dim else None


def _build(activation: Activation, *, inplace: bool = False) -> Callable[[Tensor], Tensor]:
    if inplace and activation is nn.ReLU:  # its gradient needs the output only: one tensor less
        return nn.ReLU(inplace=True)
    return activation() if isinstance(activation, type) else activation


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _Last(nn.Linear):
    """(gain · W) h + b, with W and b zero at first."""

    def __init__(self, inputs: int, outputs: int, gain: float) -> None:
        super().__init__(inputs, outputs)
        self.gain = gain
        _zeroed(self)

    def forward(self, h: Tensor) -> Tensor:
        return linear(h, self.weight if self.gain == 1 else self.gain * self.weight, self.bias)


class MLP(nn.Module):
    """A multilayer perceptron x ↦ g W_L σ(… σ(W_1 x + V c + b_1) …) + b_L that starts at zero.

    Args:
        input_dim: length of the passive vector.
        output_dim: length of the output, number of parameters × length of the active vector.
        hidden: widths of the hidden layers.
        context_dim: length of the context vector, 0 for none. Its batch dimensions broadcast
            against the input's from the right.
        activation: σ, a module class or a function.
        gain: g. It acts as the last layer's learning rate, since Adam moves all weights alike.
        spread: s. The hidden layers start as if σ was s times as sharp, z ↦ σ(s z) / s: what the first of
            them adds up, and all their biases, are s times as large as PyTorch draws them. Larger ones
            learn finer detail, and sooner fit a small table too well.
        squash: what the net reads x through, element by element; None for x itself. Through `torch.asinh` a
            row far from the others does not make the output extreme, and the net still sees how far it is.

    Raises:
        ValueError: if `hidden` is empty, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> net = pf.nn.MLP(2, 6, hidden=(32, 32), context_dim=4)
        >>> net(torch.randn(10, 5, 2), torch.randn(5, 4)).shape
        torch.Size([10, 5, 6])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden: Sequence[int] = (64, 64),
        *,
        context_dim: int = 0,
        activation: Activation = nn.ReLU,
        gain: float = 1.0,
        spread: float = 1.0,
        squash: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("expected at least one hidden layer; got none")
        self.squash = squash
        self.first = nn.Linear(input_dim, hidden[0])
        self.context = _context_layer(context_dim, hidden[0])
        self.context_shape = Size([context_dim]) if context_dim else None
        self.middle = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.last = _Last(hidden[-1], output_dim, gain)
        self.activation = _build(activation, inplace=True)
        if spread != 1:
            middle = cast(list[nn.Linear], list(self.middle))
            entering = [self.first] if self.context is None else [self.first, self.context]
            with torch.no_grad():
                for layer in entering:
                    layer.weight.mul_(spread)
                for layer in (self.first, *middle):
                    layer.bias.mul_(spread)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the output, of shape (*batch, output_dim)."""
        if self.squash is not None:
            x = self.squash(x)
        h = self.activation(_with_context(self.first(x), self.context, context))
        for layer in self.middle:
            h = self.activation(layer(h))
        return self.last(h)


class ResidualNet(nn.Module):
    """A dense residual network: h ← h + B_k σ(A_k σ(h)), k = 1 … blocks, that starts at zero.

    He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027.

    Args:
        input_dim: length of the passive vector.
        output_dim: length of the output.
        width: width of every layer.
        blocks: number of residual blocks, each of two layers.
        context_dim: length of the context vector, 0 for none.
        activation: σ, a module class or a function.

    Raises:
        ValueError: if a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pf.nn.ResidualNet(2, 6, width=32)(torch.randn(10, 2)).shape
        torch.Size([10, 6])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        width: int = 64,
        blocks: int = 2,
        *,
        context_dim: int = 0,
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(input_dim, width)
        self.context = _context_layer(context_dim, width)
        self.context_shape = Size([context_dim]) if context_dim else None
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2 * blocks))
        self.last = _zeroed(nn.Linear(width, output_dim))
        self.activation = _build(activation)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the output, of shape (*batch, output_dim)."""
        h = _with_context(self.first(x), self.context, context)
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            h = h + second(self.activation(first(self.activation(h))))
        return self.last(self.activation(h))
