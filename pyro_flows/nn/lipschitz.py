"""Nets that contract: the residual part of an invertible residual block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from .._tracing import may_learn
from .mlp import _context_layer, _with_context

__all__ = ["Contraction", "LipschitzNet", "SpectralLinear"]

_BEND = 1.5  # β times the standard deviation of z at the start


class SpectralLinear(nn.Linear):
    """x ↦ W x min(1, c/σ) + b with σ the largest singular value of W, so that it stretches nothing by over c.

    σ = uᵀWv by power iteration on buffers u and v: one more iteration for each use in training, five that
    are not kept in evaluation.

    Miyato, Kataoka, Koyama & Yoshida, "Spectral Normalization for Generative Adversarial Networks", 2018,
    arXiv:1802.05957; Gouk, Frank, Pfahringer & Cree, "Regularisation of Neural Networks by Enforcing
    Lipschitz Continuity", 2021, arXiv:1804.04368.

    Args:
        inputs: length of x.
        outputs: length of the result.
        coefficient: c.
    """

    u: Tensor
    v: Tensor

    def __init__(self, inputs: int, outputs: int, coefficient: float = 0.97) -> None:
        super().__init__(inputs, outputs)
        self.coefficient = coefficient
        self.register_buffer("u", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(inputs), dim=0))
        self.u, self.v = self.iterated(20)

    def scale(self) -> Tensor:
        """Return min(1, c/σ), and in training keep the better u and v."""
        kept = self.training and may_learn()
        u, v = self.iterated(1 if kept else 5)
        if kept:
            self._keep(u, v)
        sigma = torch.dot(u, torch.mv(self.weight, v))
        return self.coefficient / sigma.clamp(min=self.coefficient)

    def iterated(self, times: int) -> tuple[Tensor, Tensor]:
        """Return u and v after so many more rounds of power iteration."""
        with torch.no_grad():
            u, v = self.u, self.v
            for _ in range(times):
                v = torch.mv(self.weight.T, u)
                u = F.normalize(torch.mv(self.weight, v), dim=0)
        return u, F.normalize(v, dim=0)

    def _keep(self, u: Tensor, v: Tensor) -> None:
        if torch.compiler.is_compiling():  # as in RunningMoments: compiled code would recompute from new ones
            self.u, self.v = u, v
            return
        with torch.no_grad():
            self.u.copy_(u)
            self.v.copy_(v)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled product and b."""
        return F.linear(x, self.weight * self.scale(), self.bias)


class Contraction(NamedTuple):
    """g as W_L silu(… silu(W_1 x + shift + b_1) …) + b_L, for as many evaluations as one pass needs."""

    weights: list[Tensor]
    biases: list[Tensor]
    shift: Tensor | None  # what the context adds to the first layer

    def detach(self) -> Contraction:
        """Return the same map without gradients."""
        weights, biases = ([t.detach() for t in part] for part in self[:2])
        return Contraction(weights, biases, None if self.shift is None else self.shift.detach())

    def __call__(self, x: Tensor) -> Tensor:
        """Return g(x)."""
        x = self._first(x)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            x = F.linear(F.silu(x), weight, bias)
        return x

    def linearised(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return g(x) and the activations' slopes there, which tell the Jacobian J."""
        slopes, z = [], self._first(x)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            gate = torch.sigmoid(z)
            h = z * gate
            slopes.append(gate + h * (1 - gate))
            z = F.linear(h, weight, bias)
        return z, slopes

    def _first(self, x: Tensor) -> Tensor:
        z = F.linear(x, self.weights[0], self.biases[0])
        return z if self.shift is None else z + self.shift

    def push(self, slopes: list[Tensor], tangent: Tensor) -> Tensor:
        """Return J ε."""
        for weight, slope in zip(self.weights[:-1], slopes, strict=True):
            tangent = F.linear(tangent, weight) * slope
        return F.linear(tangent, self.weights[-1])

    def pull(self, slopes: list[Tensor], cotangent: Tensor) -> Tensor:
        """Return Jᵀ w."""
        for weight, slope in zip(self.weights[:0:-1], slopes[::-1], strict=True):
            cotangent = (cotangent @ weight) * slope
        return cotangent @ self.weights[0]

    def jacobian(self, slopes: list[Tensor]) -> Tensor:
        """Return J of shape (*batch, d, d)."""
        first, *rest = self.weights
        # Each direction by itself: `moved` has the shape (*batch, d, width). Contiguous, as `linear` else
        # multiplies row by row.
        moved = slopes[0].unsqueeze(-2) * first.T.contiguous()
        for weight, slope in zip(rest[:-1], slopes[1:], strict=True):
            moved = F.linear(moved, weight) * slope.unsqueeze(-2)
        return F.linear(moved, rest[-1]).transpose(-1, -2)


class LipschitzNet(nn.Module):
    """A multilayer perceptron g of L spectral layers and LipSwish: |g(x) − g(x′)| ≤ c^L |x − x′| < |x − x′|.

    LipSwish is z · sigmoid(βz) / 1.1. Spectral layers make z small, so that β starts large enough for it to
    bend within the data, of standard deviation 1: with the paper's 0.97 a new net is all but linear.

    Chen, Behrmann, Duvenaud & Jacobsen, "Residual Flows for Invertible Generative Modeling", 2019,
    arXiv:1906.02735.

    Args:
        input_dim: length d of x and g(x).
        hidden: widths of the hidden layers.
        coefficient: c in (0, 1): the bound of each layer.
        context_dim: length of the context vector, added to the first layer; 0 for none.

    Raises:
        ValueError: if an argument is out of its range, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> net = pf.nn.LipschitzNet(3)
        >>> one, other = torch.randn(2, 100, 3)
        >>> bool(((net(one) - net(other)).norm(dim=-1) < (one - other).norm(dim=-1)).all())
        True
    """

    def __init__(
        self,
        input_dim: int,
        hidden: Sequence[int] = (64, 64),
        *,
        coefficient: float = 0.97,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        if input_dim < 1:
            raise ValueError(f"expected input_dim ≥ 1; got {input_dim}")
        if not hidden:
            raise ValueError("expected at least one hidden layer; got none")
        if not 0 < coefficient < 1:
            raise ValueError(f"expected a coefficient in (0, 1); got {coefficient}")
        sizes = pairwise([input_dim, *hidden, input_dim])
        self.layers = nn.ModuleList(SpectralLinear(a, b, coefficient) for a, b in sizes)
        self.context = _context_layer(context_dim, hidden[0])
        self.context_shape = Size([context_dim]) if context_dim else None
        self.sharpness = nn.Parameter(torch.empty(len(hidden)))  # β = softplus of this
        self.input_dim, self.bound = input_dim, coefficient ** (len(hidden) + 1)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Make hidden layers stretch as much as they may and bend within the data, and the last one small."""
        *hidden, last = cast(list[SpectralLinear], list(self.layers))
        size = 1.0  # standard deviation of a layer's input elements, if the data's is 1
        for layer, sharpness in zip(hidden, self.sharpness, strict=True):
            nn.init.orthogonal_(layer.weight, layer.coefficient)
            layer.u, layer.v = layer.iterated(20)
            spread = size * layer.weight.norm(dim=1)  # of each unit, before its activation
            layer.bias.copy_((torch.rand_like(spread) * 4 - 2) * spread)
            typical = float(spread.square().mean().sqrt())
            sharpness.fill_(math.log(math.expm1(_BEND / typical)))
            size = 0.5 * typical
        last.weight.mul_(0.01)
        last.bias.zero_()

    def contraction(self, context: Tensor | None = None) -> Contraction:
        """Return g given the context, its weights scaled once for a whole pass."""
        layers = cast(list[SpectralLinear], list(self.layers))
        # LipSwish z·sigmoid(βz) / 1.1 is silu(βz) / 1.1β: the layer before takes β, the one after 1/1.1β.
        sharpness, one = F.softplus(self.sharpness), self.sharpness.new_ones(1)
        inward = torch.cat([sharpness, one]).unbind()
        outward = torch.cat([one, 1 / (1.1 * sharpness)]).unbind()
        scales = zip(layers, inward, outward, strict=True)
        weights = [layer.weight * (layer.scale() * (a * b)) for layer, a, b in scales]
        biases = [layer.bias * a for layer, a in zip(layers, inward, strict=True)]
        shift = None
        if self.context is not None:
            shift = _with_context(biases[0].new_zeros(()), self.context, context) * inward[0]
        return Contraction(weights, biases, shift)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return g(x) of shape (*batch, d)."""
        return self.contraction(context)(x)
