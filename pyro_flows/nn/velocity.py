"""The velocity field of a continuous flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from .mlp import Activation, _build, _context_layer, _with_context

__all__ = ["VelocityNet"]


def _tanh(z: Tensor) -> tuple[Tensor, Tensor]:
    h = z.tanh()
    return h, 1 - h * h


def _silu(z: Tensor) -> tuple[Tensor, Tensor]:
    s = z.sigmoid()
    h = z * s
    return h, torch.lerp(s, s.new_ones(()), h)  # s + h (1 − s)


def _softplus(z: Tensor) -> tuple[Tensor, Tensor]:
    return F.softplus(z), z.sigmoid()


def _elu(z: Tensor) -> tuple[Tensor, Tensor]:
    h = F.elu(z)
    return h, h.clamp(max=0) + 1


_SLOPES = {nn.Tanh: _tanh, nn.SiLU: _silu, nn.Softplus: _softplus, nn.ELU: _elu}


def _by_autograd(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        h, pull = torch.func.vjp(activation, z)[:2]
        return h, pull(torch.ones_like(z))[0]

    return both


class _Gained(nn.Linear):
    """g W x + g b, where W and b start g times smaller: Adam moves the map g times as fast."""

    def __init__(
        self, inputs: int, outputs: int, gain: float, *, bias: bool = True, start: float = 1.0
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.gain = gain
        with torch.no_grad():
            self.weight.mul_(start / gain)
            if bias:
                self.bias.mul_(min(start, 1.0) / gain)

    def gained(self) -> Tensor:
        """Return g W."""
        return self.weight if self.gain == 1 else self.gain * self.weight

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias is None or self.gain == 1 else self.gain * self.bias
        return F.linear(x, self.gained(), bias)


class VelocityNet(nn.Module):
    """v(t, x, c) = W_L σ(… σ(W_1 x + U_1 φ(t) + V c + b_1) …) + b_L, with its Jacobian's trace.

    It starts at zero. φ(t) holds cos kπt and sin kπt, and enters every hidden layer. With one
    or two hidden layers the trace of ∂v/∂x costs one more matrix product whatever the dimension:
    tr(W_3 D_2 W_2 D_1 W_1) = d_2·(W_2 ∘ (W_1 W_3)ᵀ) d_1 with the slopes d_l of the activations.

    Args:
        input_dim: length d of x and v.
        hidden: widths of the hidden layers.
        context_dim: length of the context vector c, 0 for none. Its batch dimensions broadcast against
            x's from the right.
        frequencies: the highest k.
        activation: σ, a smooth one: a module class or a function.
        gain: what all weights are multiplied by, after they were drawn that much smaller: their learning
            rate, as Adam moves all weights alike.
        spread: what the first layer's weights at the start are multiplied by; larger ones see finer detail.

    Raises:
        ValueError: if `input_dim` < 1 or `hidden` is empty, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> net = pf.nn.VelocityNet(3)
        >>> v, trace = net.forward_and_trace(torch.tensor(0.5), torch.randn(10, 3))
        >>> v.shape, trace.shape
        (torch.Size([10, 3]), torch.Size([10]))
    """

    phases: Tensor

    def __init__(
        self,
        input_dim: int,
        hidden: Sequence[int] = (64, 64),
        *,
        context_dim: int = 0,
        frequencies: int = 3,
        activation: Activation = nn.Tanh,
        gain: float = 1.0,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        if input_dim < 1:
            raise ValueError(f"expected input_dim ≥ 1; got {input_dim}")
        if not hidden:
            raise ValueError("expected at least one hidden layer; got none")
        self.widths = list(hidden)
        self.first = _Gained(input_dim, hidden[0], gain, start=spread)
        self.time = _Gained(2 * frequencies, sum(hidden), gain, bias=False)
        self.context = _context_layer(context_dim, hidden[0])
        self.context_shape = Size([context_dim]) if context_dim else None
        self.middle = nn.ModuleList(_Gained(a, b, gain) for a, b in pairwise(hidden))
        self.last = _Gained(hidden[-1], input_dim, gain, start=0.0)
        self.activation = _build(activation)
        self.register_buffer("phases", math.pi * torch.arange(1.0, frequencies + 1), persistent=False)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return v of shape (*batch, d) at times t of shape () or (*batch,)."""
        first, *shifts = self._times(t)
        h = self.activation(self._enter(first, x, context))
        for layer, shift in zip(self.middle, shifts, strict=True):
            h = self.activation(layer(h) + shift)
        out: Tensor = self.last(h)
        return out

    def forward_and_trace(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return v of shape (*batch, d) and tr ∂v/∂x of shape (*batch,)."""
        into, out_of, both = self.first.gained(), self.last.gained(), self._both()
        first, *shifts = self._times(t)
        h, slope = both(self._enter(first, x, context))
        if not self.middle:
            return self.last(h), slope @ (into * out_of.T).sum(-1)
        middle = cast(list[_Gained], list(self.middle))
        if len(middle) == 1:
            h, last_slope = both(middle[0](h) + shifts[0])
            loops = middle[0].gained() * (into @ out_of).T
            return self.last(h), (last_slope * F.linear(slope, loops)).sum(-1)
        # Each direction by itself: `moved` has the shape (d, *batch, width).
        moved = slope * into.T.reshape(-1, *[1] * (x.dim() - 1), slope.shape[-1])
        for layer, shift in zip(middle, shifts, strict=True):
            h, slope = both(layer(h) + shift)
            moved = F.linear(moved, layer.gained()) * slope
        return self.last(h), torch.einsum("d...h,dh->...", moved, out_of)

    def pushforward(
        self, t: Tensor, x: Tensor, tangents: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return v and (∂v/∂x) ε for each of the `tangents` ε, of shape (k, *batch, d)."""
        both = self._both()
        first, *shifts = self._times(t)
        h, slope = both(self._enter(first, x, context))
        moved = F.linear(tangents, self.first.gained()) * slope
        for layer, shift in zip(cast(list[_Gained], list(self.middle)), shifts, strict=True):
            h, slope = both(layer(h) + shift)
            moved = F.linear(moved, layer.gained()) * slope
        return self.last(h), F.linear(moved, self.last.gained())

    def _times(self, t: Tensor) -> tuple[Tensor, ...]:
        """Return what the time adds to each hidden layer."""
        angles = t.unsqueeze(-1) * self.phases
        return self.time(torch.cat([angles.cos(), angles.sin()], -1)).split(self.widths, -1)

    def _enter(self, time: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        return _with_context(self.first(x) + time, self.context, context)

    def _both(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return the activation together with its slope."""
        return _SLOPES.get(type(self.activation), _by_autograd(self.activation))
