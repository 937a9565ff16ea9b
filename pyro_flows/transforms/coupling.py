"""The coupling layer: partition × elementwise × conditioner."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ..elementwise import Affine, Elementwise
from ..nn import MLP
from ..partitions import Halves, Partition
from ..transform import FlowTransform
from ._conditioner import context_shape_of, read

__all__ = ["Coupling", "coupling"]


class Coupling(FlowTransform):
    r"""y_passive = x_passive, y_active = g(x_active; θ(x_passive, c)): one part is changed, given the other.

    The log-det is the sum of g's log-derivatives, log|det dy/dx| = Σ log g′. The conditioner runs
    once in each direction, since both see the same passive half.

    Dinh, Krueger & Bengio 2015, arXiv:1410.8516; Dinh, Sohl-Dickstein & Bengio 2017,
    arXiv:1605.08803.

    Args:
        partition: which part is read (passive) and which is changed (active).
        elementwise: the monotone map g.
        conditioner: a module θ that maps the passive part, and the context if there is one, to
            ``elementwise.num_params`` parameters for each active element, of shape
            (*batch, num_params, *active), or with the event's dimensions merged into one.
        context_dim: length of the context vector that `conditioner` takes; not needed with the nets of
            `pyro_flows.nn`, which know it.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer = pf.transforms.Coupling(
        ...     pf.partitions.Halves(5), pf.elementwise.Affine(), pf.nn.MLP(3, 2 * 2)
        ... )
        >>> y = layer(torch.randn(10, 5))
        >>> layer.inv(y).shape
        torch.Size([10, 5])
    """

    def __init__(
        self, partition: Partition, elementwise: Elementwise, conditioner: nn.Module, *, context_dim: int = 0
    ) -> None:
        super().__init__()
        self.partition, self.elementwise, self.conditioner = partition, elementwise, conditioner
        event_dim = partition.event_dim
        self.domain = constraints.independent(elementwise.domain, event_dim)
        self.codomain = constraints.independent(elementwise.codomain, event_dim)
        self.domain_shape = self.codomain_shape = partition.event_shape
        self.context_shape = context_shape_of(conditioner, context_dim)
        self._event_dim, self._active_dim = event_dim, partition.active_dim
        # A map onto an interval may saturate; its inverse then does not recover the input.
        self.reversible = elementwise.domain is elementwise.codomain is constraints.real

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and Σ log g′."""
        self._check(x.shape, self.domain_shape, self._event_dim)
        passive, active, log_slopes = self.move(*self.partition.split(x), context)
        return self.partition.merge(passive, active), log_slopes.sum(-1)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and −Σ log g′."""
        self._check(y.shape, self.codomain_shape, self._event_dim)
        passive, active, log_slopes = self.move(*self.partition.split(y), context, inverse=True)
        return self.partition.merge(passive, active), log_slopes.sum(-1)

    def move(
        self, passive: Tensor, active: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the layer to the two parts of an event; return both, not yet merged, and log-slopes.

        The log-slopes, of shape (*batch, n), sum up to the log-det: for vectors they are those of the
        active elements, for images their sum, which is small.
        """
        params = self._params(passive, active, context)
        active, log_slopes = self._moved(active, params, inverse)
        if context is not None:  # it may have more batch dimensions than the event
            cut = active.dim() - self._active_dim
            passive = passive.expand(active.shape[:cut] + passive.shape[passive.dim() - self._active_dim :])
        return passive, active, log_slopes

    def reverse(
        self, passive: Tensor, output: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Recover the active input of `move` from its output, as a new leaf, and re-apply the layer.

        Returns the active input, and the active output and log-slopes computed from it. The conditioner runs
        once, since the passive part is the same on both sides.
        """
        params = self._params(passive, output, context)
        with torch.no_grad():
            active, _ = self._moved(output, params, not inverse)
        active = active.detach().requires_grad_()
        return active, *self._moved(active, params, inverse)

    def _moved(self, active: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        g = self.elementwise.inverse if inverse else self.elementwise.forward
        active, slope = g(active, params, self._active_dim)
        if self._active_dim > 1:
            slope = slope.flatten(active.dim() - self._active_dim).sum(-1, keepdim=True)
        return active, slope

    def _params(self, passive: Tensor, active: Tensor, context: Tensor | None) -> Tensor:
        batch_dim = passive.dim() - self._active_dim
        if context is not None and self.context_shape is not None:
            batch_dim = max(batch_dim, context.dim() - len(self.context_shape))
        shape = Size([self.elementwise.num_params, *active.shape[active.dim() - self._active_dim :]])
        return read(self.conditioner, passive, context, shape=shape, batch_dim=batch_dim, like=passive)


def coupling(
    input_dim: int, hidden_dims: Sequence[int] | None = None, *, swap: bool = False, context_dim: int = 0
) -> Coupling:
    """Return an affine coupling of halves with an MLP, under the name Pyro users expect.

    Args:
        input_dim: length of the event vector, at least 2.
        hidden_dims: widths of the net's hidden layers; two of 10 × `input_dim` if None, as in
            Pyro's `affine_coupling`.
        swap: change the first half given the second, not the second given the first.
        context_dim: length of the context vector, 0 for none.
    """
    partition, elementwise = Halves(input_dim, swap=swap), Affine()
    passive, active = partition.sizes()
    net = MLP(
        passive,
        elementwise.num_params * active,
        hidden_dims or (10 * input_dim, 10 * input_dim),
        context_dim=context_dim,
    )
    return Coupling(partition, elementwise, net, context_dim=context_dim)
