"""The planar flow."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from ..elementwise.solve import invert
from ..transform import FlowTransform
from ._parameters import Parameters

__all__ = ["Planar"]

_MARGIN = 1e-3  # the least slope along u: without one, single precision rounds it to zero
_SHIFT = math.log(math.expm1(1 - _MARGIN))


class Planar(FlowTransform):
    r"""y = x + u tanh(w·x + b), log|det dy/dx| = log(1 + s (1 − tanh²)) with s = w·u > −1.

    u is moved along w so that s = m(w·u), m(z) = softplus(z + c) − 0.999 with m(0) = 0, which makes the map
    invertible for any parameters. Its inverse solves α + s tanh α = w·y + b for α = w·x + b, one increasing
    equation a row, by Newton's method within a bracket: so it scores any data.

    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, arXiv:1505.05770, section 4.1
    and appendix A.1.

    Args:
        input_dim: length d of the event vector, at least 1.
        conditioner: a module that maps the context to 2d + 1 values, which are added to u, w and b, or None.
        context_dim: length of the context vector; needed with a conditioner.

    Raises:
        ValueError: if `input_dim` < 1, or only one of conditioner and context is given.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.transforms.Planar(3))
        >>> flow().log_prob(torch.randn(10, 3)).shape
        torch.Size([10])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, input_dim: int, conditioner: nn.Module | None = None, *, context_dim: int = 0) -> None:
        super().__init__()
        if input_dim < 1:
            raise ValueError(f"expected input_dim ≥ 1; got {input_dim}")
        w = torch.randn(input_dim) / math.sqrt(input_dim)  # with u = 0 the map is the identity
        initial = torch.cat([w.new_zeros(input_dim), w, w.new_zeros(1)])
        self.parts = Parameters(initial, conditioner, context_dim)
        self.context_shape = self.parts.context_shape
        self.domain_shape = self.codomain_shape = Size([input_dim])

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x + u tanh(w·x + b) and its log-det."""
        self._check(x.shape, self.domain_shape, 1)
        u, w, b, s = self._parts(x, context)
        h = ((w * x).sum(-1) + b).tanh()
        return x + u * h.unsqueeze(-1), (s * (1 - h * h)).log1p()

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y − u tanh α for the root α, and its log-det."""
        self._check(y.shape, self.codomain_shape, 1)
        u, w, b, s = self._parts(y, context)

        def g(alpha: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
            h = alpha.tanh()
            return alpha + s * h, (s * (1 - h * h)).log1p()

        beta, s = torch.broadcast_tensors((w * y).sum(-1) + b, s)
        h = invert(g, beta, s, beta - s.abs(), beta + s.abs()).tanh()
        return y - u * h.unsqueeze(-1), -(s * (1 - h * h)).log1p()

    def _parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = x.shape[-1]
        u, w, b = self.parts(x, context).split([size, size, 1], -1)
        along = (w * u).sum(-1, keepdim=True)
        s = F.softplus(along + _SHIFT) - (1 - _MARGIN)
        square = w.square().sum(-1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
        return u + (s - along) * w / square, w, b.squeeze(-1), s.squeeze(-1)
