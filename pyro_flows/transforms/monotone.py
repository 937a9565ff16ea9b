"""Monotone maps of each element by itself: the one-dimensional flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ..elementwise import Elementwise
from ..transform import FlowTransform
from ._conditioner import paired, read

__all__ = ["Monotone"]


class Monotone(FlowTransform):
    r"""y_i = g(x_i; θ_i): a monotone map of each element by itself, log|det dy/dx| = Σ log g′.

    θ is learned, or a function of the context: a flow of one dimension, or of many independent ones.

    Args:
        elementwise: the monotone map g.
        event_shape: shape of an event; () for plain numbers.
        conditioner: a module that maps the context to ``elementwise.num_params`` values for each
            element, of shape (*batch, num_params, *event) or with these dimensions merged into one;
            None for free parameters.
        context_dim: length of the context vector; needed with a conditioner.

    Raises:
        ValueError: if shapes do not fit, or only one of conditioner and context is given.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.transforms.Monotone(pf.elementwise.RationalQuadratic(), (1,)))
        >>> flow().log_prob(torch.randn(10, 1)).shape
        torch.Size([10])
    """

    def __init__(
        self,
        elementwise: Elementwise,
        event_shape: Sequence[int] = (),
        conditioner: nn.Module | None = None,
        *,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        self.context_shape = paired(conditioner, context_dim)
        self.elementwise = elementwise
        self.domain_shape = self.codomain_shape = Size(event_shape)
        self._dim = len(self.domain_shape)
        self.domain, self.codomain = elementwise.domain, elementwise.codomain
        if self._dim:
            self.domain = constraints.independent(self.domain, self._dim)
            self.codomain = constraints.independent(self.codomain, self._dim)
        self.conditioner = conditioner
        shape = (elementwise.num_params, *self.domain_shape)
        self.params = nn.Parameter(torch.zeros(shape)) if conditioner is None else None

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and Σ log g′."""
        self._check(x.shape, self.domain_shape, self._dim)
        y, slope = self.elementwise.forward(x, self._params(x, context), self._dim)
        return y, self._sum(slope.expand_as(y))

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −Σ log g′."""
        self._check(y.shape, self.codomain_shape, self._dim)
        x, slope = self.elementwise.inverse(y, self._params(y, context), self._dim)
        return x, self._sum(slope.expand_as(x))

    def _sum(self, slope: Tensor) -> Tensor:
        return slope.flatten(-self._dim).sum(-1) if self._dim else slope

    def _params(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.conditioner is None:
            return cast(Tensor, self.params)
        shape = Size([self.elementwise.num_params, *(self.domain_shape or ())])
        batch_dim = 0 if context is None else context.dim() - 1
        return read(self.conditioner, context, shape=shape, batch_dim=batch_dim, like=x)
