"""The autoregressive layer: ordering × elementwise × masked net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ..elementwise import Elementwise
from ..nn import MaskedNet
from ..transform import FlowTransform
from ._conditioner import context_shape_of, read

__all__ = ["Autoregressive"]


class Autoregressive(FlowTransform):
    r"""y_i = g(x_i; θ_i(x_j : rank j < rank i, c)): each element is changed given those before it.

    The log-det is Σ log g′. *Forward* takes one pass, *inverse* one for each rank: the layer itself
    samples fast (an inverse autoregressive flow), its `inv` scores fast (a masked autoregressive flow).
    With two ranks it is a coupling.

    Kingma et al. 2016, arXiv:1606.04934; Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057.

    Args:
        elementwise: the monotone map g.
        conditioner: a module θ that maps x, and the context if there is one, to parameters of shape
            (*batch, num_params, d), or with the last two dimensions merged, such that those of element i
            depend on lower-ranked elements only; for example a `pyro_flows.nn.MaskedNet`.
        ranks: place of each of the d elements in the order; the conditioner's if None.
        context_dim: length of the context vector that `conditioner` takes; not needed with the nets of
            `pyro_flows.nn`, which know it.

    Raises:
        ValueError: if shapes do not fit, or no ranks are known.

    Example:
        >>> import torch, pyro_flows as pf
        >>> affine = pf.elementwise.Affine()
        >>> layer = pf.transforms.Autoregressive(affine, pf.nn.MaskedNet([0, 1, 2], affine.num_params))
        >>> layer(torch.randn(10, 3)).shape, layer.passes
        (torch.Size([10, 3]), 3)
    """

    ranks: Tensor
    by_rank: Tensor
    unsorted: Tensor

    def __init__(
        self,
        elementwise: Elementwise,
        conditioner: nn.Module,
        ranks: Sequence[int] | Tensor | None = None,
        *,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        given = getattr(conditioner, "ranks", None) if ranks is None else torch.as_tensor(ranks)
        if given is None or given.dim() != 1 or not len(given):
            raise ValueError(f"expected one rank an element; got {ranks}")
        self.elementwise, self.conditioner = elementwise, conditioner
        places = given.unique(return_inverse=True)[1]
        self.sizes: list[int] = places.bincount().tolist()
        self.passes = len(self.sizes)
        self.register_buffer("ranks", places)
        self.register_buffer("by_rank", places.argsort(stable=True), persistent=False)
        self.register_buffer("unsorted", self.by_rank.argsort(), persistent=False)
        self.domain = constraints.independent(elementwise.domain, 1)
        self.codomain = constraints.independent(elementwise.codomain, 1)
        self.domain_shape = self.codomain_shape = Size(places.shape)
        self.context_shape = context_shape_of(conditioner, context_dim)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and Σ log g′, in one pass."""
        self._check(x.shape, self.domain_shape, 1)
        y, slope = self.elementwise.forward(x, self._params(x, context))
        return y, slope.sum(-1)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −Σ log g′, in one pass for each rank."""
        self._check(y.shape, self.codomain_shape, 1)
        if hasattr(self.conditioner, "rank_by_rank"):
            return self._unrolled(y, context)
        # Elements not yet known are zero, so that neither their values nor their gradients have an effect.
        x = slope = torch.zeros_like(y)
        for rank in range(self.passes):
            found, found_slope = self.elementwise.inverse(y, self._params(x, context))
            known = self.ranks == rank
            x, slope = torch.where(known, found, x), torch.where(known, found_slope, slope)
        return x, slope.sum(-1)

    def _unrolled(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Invert with a net that can be evaluated rank by rank: all ranks together cost one pass."""
        if context is not None:
            batch = torch.broadcast_shapes(y.shape[:-1], context.shape[:-1])
            y = y.expand(batch + y.shape[-1:])
        params = cast(MaskedNet, self.conditioner).rank_by_rank(y, context)
        x, slopes = y[..., :0], []
        for part in y.index_select(-1, self.by_rank).split(self.sizes, -1):
            found, slope = self.elementwise.inverse(part, params(x).to(y.dtype))
            slopes.append(slope)
            x = torch.cat((x, found), -1)
        return x.index_select(-1, self.unsorted), torch.cat(slopes, -1).sum(-1)

    def _params(self, x: Tensor, context: Tensor | None) -> Tensor:
        batch_dim = x.dim() - 1
        if context is not None and self.context_shape is not None:
            batch_dim = max(batch_dim, context.dim() - len(self.context_shape))
        shape = Size([self.elementwise.num_params, len(self.ranks)])
        return read(self.conditioner, x, context, shape=shape, batch_dim=batch_dim, like=x)
