"""`Flow`, a base distribution pushed through transforms, as a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from ._arrays import Columns, as_tensor
from ._given import Given
from ._tracing import is_traced
from .bases import StandardBase, StandardNormal, Tempered
from .flow_distribution import FlowDistribution
from .transform import FlowTransform
from .transforms.chain import Chain
from .transforms.placing import in_units, split_at_units
from .transforms.units import Units

__all__ = ["Flow"]


def _own_context(context: Any, units: Units, columns: Columns) -> Tensor:
    """Return `context` as a tensor that the flow can take."""
    like = units.scale
    if not isinstance(context, Tensor):
        context = as_tensor(context, "context", columns).to(like.device)
    if context.dtype is like.dtype:
        return context
    if context.is_complex():
        raise TypeError(f"expected a context of real numbers; got {context.dtype}")
    exact = context.dtype is torch.float64 or not context.is_floating_point()
    return context.to(torch.float64 if units.active and exact else like.dtype)


class Flow(nn.Module):
    r"""A lazy distribution: ``flow()``, or ``flow(context)``, is p(y) with y = f(x), x ~ base.

    Args:
        transform: f, base → data: one of ours, Pyro's or torch's, or a list of them.
        base: a distribution, or a module that returns one when called (see `pyro_flows.bases`); a
            standard normal of the transform's shape if None. All of them follow ``.to()``. What is
            learned belongs to a module: a distribution's own tensors must not require gradients.

    Attributes:
        units: location and scale of the data, which `pyro_flows.fit` finds, as a `transforms.Units`; None if
            the layers that learn are bounded. Before a fit it is the identity, and costs nothing.
        context_units: the same for the context of a conditional flow.
        columns: names of the data's columns if `pyro_flows.fit` was given a data frame, else None. Frames
            that are scored later need these names, in whatever order. They are copied and pickled with the
            flow, and are no part of its `state_dict()`.
        context_columns: the same for contexts.

    Raises:
        TypeError: if `transform` or `base` is something else.
        ValueError: if the base must be given because no transform tells its shape, or the base is a
            distribution with tensors that require gradients.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.real_nvp(2))
        >>> flow().log_prob(torch.randn(5, 2)).shape, flow().sample((7,)).shape
        (torch.Size([5]), torch.Size([7, 2]))
        >>> flow = pf.Flow(pf.real_nvp(2, context_dim=3))
        >>> flow(torch.randn(5, 3)).batch_shape
        torch.Size([5])
    """

    columns: Columns = None
    context_columns: Columns = None

    def __init__(
        self,
        transform: Transform | Sequence[Transform],
        base: Distribution | nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(transform, FlowTransform):
            transform = Chain(transform if isinstance(transform, list | tuple) else [transform])
        self.add_module("transform", transform)
        tensors = (*transform.parameters(), *transform.buffers())
        device = tensors[0].device if tensors else None
        like = next((t for t in tensors if t.is_floating_point()), torch.empty(0, device=device)).detach()
        if base is None:
            shape = transform.domain_shape
            if shape is None:
                raise ValueError("expected a base, as no transform tells the event's shape; got none")
            self.base: nn.Module = StandardBase(StandardNormal, shape, like)
        elif isinstance(base, Distribution):
            self.base = Given(base)
        elif isinstance(base, nn.Module):
            self.base = base
        else:
            raise TypeError(f"expected a distribution or a module as base; got {type(base).__name__}")
        self.units, self.context_units = self._new_units(like)
        for units in (self.units, self.context_units):
            if units is not None:
                units.to(like.device)
        self._in_units: tuple[tuple[Any, ...], Chain] | None = None

    def _new_units(self, like: Tensor) -> tuple[Units | None, Units | None]:
        own = self.given_transform
        shape = own.context_shape
        context_units = None if shape is None else Units(shape, dtype=like.dtype)
        places = split_at_units(own)
        if places is None:
            return None, context_units
        inner = Chain(places[0])
        event_shape = inner.codomain_shape
        if event_shape is None:  # the base tells
            base = self.base()
            whole = inner.forward_shape(base.batch_shape + base.event_shape)
            dim = max(inner.domain.event_dim, len(base.event_shape))
            event_shape = whole[len(whole) - dim - inner.codomain.event_dim + inner.domain.event_dim :]
        return Units(event_shape, event_dim=inner.codomain.event_dim, dtype=like.dtype), context_units

    @property
    def given_transform(self) -> FlowTransform:
        """The transform that the flow was built with, without units."""
        return cast(FlowTransform, self._modules["transform"])

    @property
    def transform(self) -> FlowTransform:
        """F in the units of data and context: the transform as given, until `fit` has set its units.

        Then it is a chain of the same layers and the units, with indices as before up to the last layer that
        learns; ask for it anew after a fit.
        """
        own = cast("FlowTransform | None", self._modules.get("transform"))
        if own is None:
            raise AttributeError("the flow has no transform yet")
        if not any(units is not None and units.active for units in (self.units, self.context_units)):
            return own
        if self._in_units is not None and is_traced():
            return self._in_units[1]
        memory = (own.memory, own.kept_every) if isinstance(own, Chain) else None
        key = id(own), memory, id(self.units), id(self.context_units)
        if self._in_units is None or self._in_units[0] != key:
            self._in_units = key, in_units(own, self.units, self.context_units)
        return self._in_units[1]

    def forward(self, context: Any = None) -> FlowDistribution:
        """Return the distribution, given `context` of shape (*batch, *context_shape) if it takes one.

        Arrays and data frames are contexts too.
        """
        if context is not None:
            if self.context_units is None:
                raise ValueError(
                    "the flow takes no context; got one: call flow(), or build a flow with context_dim=…"
                )
            context = _own_context(context, self.context_units, self.context_columns)
        distribution = FlowDistribution(self.base(), self.transform, context)
        if self.columns is not None:
            distribution.columns = self.columns
        return distribution

    def tempered(self, temperature: float) -> Flow:
        """Return the flow with the spread of its base scaled by `temperature`, sharing everything.

        Below 1, samples are more typical and less varied. See `bases.Tempered`.

        Raises:
            ValueError: if `temperature` is not positive.
        """
        flow = Flow(self.transform, Tempered(self.base, temperature))
        flow.columns, flow.context_columns = self.columns, self.context_columns
        return flow
