"""`Flow`, a base distribution pushed through transforms, and the distribution that it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from ._arrays import as_tensor
from ._given import Given
from ._tracing import is_traced
from .bases import StandardBase, StandardNormal, Tempered
from .transform import FlowTransform
from .transforms.chain import Chain
from .transforms.placing import in_units, is_real, split_at_units
from .transforms.units import Units

__all__ = ["Flow", "FlowDistribution"]


class FlowDistribution(dist.TransformedDistribution):
    r"""log p(y) = log p_base(f⁻¹(y)) + log|det df⁻¹/dy|, in one pass; what calling a `Flow` returns.

    An ordinary Pyro `TransformedDistribution` that is cheap to build. A NaN in a row gives a NaN for
    that row. So does a value outside a bounded support; on the CPU it raises, as everywhere in torch.

    Args:
        base: the base distribution.
        transform: f.
        context: the context of a conditional f, of shape (*batch, *context_shape).

    Raises:
        ValueError: if shapes do not fit.
    """

    def __init__(self, base: Distribution, transform: FlowTransform, context: Tensor | None = None) -> None:
        if transform.context_shape is not None:
            if context is None:
                shape = tuple(transform.context_shape)
                raise ValueError(f"expected a context of event shape {shape}; got none")
            transform = transform.condition(context)
        elif context is not None:
            raise ValueError(f"{type(transform).__name__} takes no context; got one")
        domain_dim = transform.domain.event_dim
        short = domain_dim - len(base.event_shape)
        if short > 0:
            if transform.domain_shape is not None:
                whole = base.batch_shape + base.event_shape
                whole = torch.broadcast_shapes(whole, transform.domain_shape)
                base = base.expand(whole[: len(whole) - len(base.event_shape)])
            if len(base.batch_shape) < short:
                raise ValueError(
                    f"expected a base of at least {domain_dim} dimensions; got {tuple(base.batch_shape)}"
                )
            base = base.to_event(short) if hasattr(base, "to_event") else dist.Independent(base, short)
        event_dim = len(base.event_shape) - domain_dim + transform.codomain.event_dim
        shape = transform.forward_shape(base.batch_shape + base.event_shape)
        self._set(base, transform, shape[: len(shape) - event_dim], shape[len(shape) - event_dim :])

    def _set(self, base: Distribution, transform: FlowTransform, batch: Size, event: Size) -> None:
        self.base_dist = base if base.batch_shape == batch else base.expand(batch)
        self.transforms = [transform]
        self._transform = transform
        self._excess = len(base.event_shape) - transform.domain.event_dim
        self._unbounded = is_real(transform.codomain)
        Distribution.__init__(self, batch, event, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> FlowDistribution:
        """Return the distribution with another batch shape, sharing everything."""
        new = self._get_checked_instance(FlowDistribution, _instance)
        new._set(self.base_dist, self._transform, Size(batch_shape), self._event_shape)
        return new

    @property
    def support(self) -> constraints.Constraint:
        """What the values are constrained to."""
        codomain = self._transform.codomain
        return constraints.independent(codomain, self._excess) if self._excess else codomain

    @property
    def has_rsample(self) -> bool:
        """Whether samples carry gradients: if the base's do, and values are not whole numbers."""
        return bool(self.base_dist.has_rsample) and not self.support.is_discrete

    def log_prob(self, value: Any) -> Tensor:
        """Return the log-density of `value`, of shape (*sample_shape, *batch_shape).

        Arrays, data frames and tensors of another dtype than the flow's are scored too.

        Raises:
            TypeError, ValueError: if `value` holds no numbers, has another event shape, or lies outside the
                support.
        """
        value = _own_dtype(value, self.base_dist, self._transform)
        self._check(value)
        transform = self._transform
        known = None if is_traced() else transform.recall_and_log_det(value)
        if known is None:
            inside = None if self._unbounded else self._inside(value)
            x, log_det = transform.inverse_and_log_det(value)
        else:
            inside = None  # a sample is within the support
            x, log_det = known
        if self._excess:
            log_det = log_det.flatten(-self._excess).sum(-1)
        log_prob = self.base_dist.log_prob(x) + log_det
        return log_prob if inside is None else torch.where(inside, log_prob, torch.nan)

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Return a reparametrised sample and its log-density, in one pass towards the data.

        Whole numbers are scored as `log_prob` scores them, in a second pass, and carry no gradient.
        """
        if not self._transform.bijective:
            y = self.sample(sample_shape)
            return y, self.log_prob(y)
        x = self.base_dist.rsample(Size(sample_shape))
        y, log_det = self._transform.forward_and_log_det(x)
        if self._excess:
            log_det = log_det.flatten(-self._excess).sum(-1)
        return y, self.base_dist.log_prob(x) - log_det

    def _check(self, value: Tensor) -> None:
        event_dim = len(self._event_shape)
        if value.shape[value.dim() - event_dim :] != self._event_shape:
            raise ValueError(
                f"expected values of event shape {tuple(self._event_shape)}; got shape {tuple(value.shape)}"
            )

    def _inside(self, value: Tensor) -> Tensor:
        inside = self.support.check(value)
        # A trace does not know its values, and asking another device for them would wait for it: there a row
        # outside gets a NaN.
        asked = value.device.type == "cpu" and not (is_traced() or torch.jit.is_tracing())
        if asked and not bool(inside.all()):
            raise ValueError(f"expected values within the support {self.support}; got others")
        return inside


def _own_dtype(value: Any, base: Distribution, transform: FlowTransform) -> Tensor:
    """Return `value` as a tensor of the flow's dtype, or a double one if the flow subtracts μ first."""
    like: Tensor | None = getattr(base, "_like", None)
    if isinstance(value, Tensor) and like is not None and value.dtype is like.dtype:
        return value
    if like is None:
        tensors = (*transform.parameters(), *transform.buffers())
        like = next((t for t in tensors if t.is_floating_point()), None)
    if not isinstance(value, Tensor):
        value = as_tensor(value, "values").to(None if like is None else like.device)
    whole = not value.is_floating_point()
    if like is None or value.is_complex() or (whole and transform.codomain.is_discrete):
        return value
    subtracts = any(isinstance(m, Units) and m.active for m in transform.modules())
    return value.to(torch.float64 if subtracts and (whole or value.dtype is torch.float64) else like.dtype)


def _own_context(context: Any, units: Units) -> Tensor:
    """Return `context` as a tensor that the flow can take."""
    like = units.scale
    if not isinstance(context, Tensor):
        context = as_tensor(context, "context").to(like.device)
    if context.dtype is like.dtype:
        return context
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
        if context is not None and self.context_units is not None:
            context = _own_context(context, self.context_units)
        return FlowDistribution(self.base(), self.transform, context)

    def tempered(self, temperature: float) -> Flow:
        """Return the flow with the spread of its base scaled by `temperature`, sharing everything.

        Below 1, samples are more typical and less varied. See `bases.Tempered`.

        Raises:
            ValueError: if `temperature` is not positive.
        """
        return Flow(self.transform, Tempered(self.base, temperature))
