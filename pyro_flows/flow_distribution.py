"""`FlowDistribution`, the distribution that calling a `Flow` returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from ._arrays import Columns, as_tensor
from ._tracing import is_traced
from .transform import FlowTransform
from .transforms.placing import is_real
from .transforms.units import Units

__all__ = ["FlowDistribution"]


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

    columns: Columns = None  # names that the columns of data frames are to have, in whatever order

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
        if self.columns is not None:
            new.columns = self.columns
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
        value = _own_dtype(value, self.base_dist, self._transform, self.columns)
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
        batch = value.shape[: value.dim() - event_dim]
        for wanted, got in zip(reversed(self._batch_shape), reversed(batch), strict=False):
            if wanted != got and wanted != 1 and got != 1:
                raise ValueError(
                    f"expected values of a batch shape that broadcasts with the context's, "
                    f"{tuple(self._batch_shape)}; got {tuple(batch)}"
                )

    def _inside(self, value: Tensor) -> Tensor:
        inside = self.support.check(value)
        # A trace does not know its values, and asking another device for them would wait for it: there a row
        # outside gets a NaN.
        asked = value.device.type == "cpu" and not (is_traced() or torch.jit.is_tracing())
        if asked and not bool(inside.all()):
            raise ValueError(f"expected values within the support {self.support}; got others")
        return inside


def _own_dtype(value: Any, base: Distribution, transform: FlowTransform, columns: Columns) -> Tensor:
    """Return `value` as a tensor of the flow's dtype, or a double one if the flow subtracts μ first."""
    like: Tensor | None = getattr(base, "_like", None)
    usual = torch.get_default_dtype() if like is None else like.dtype
    if isinstance(value, Tensor) and value.dtype is usual:
        return value
    if like is None:
        like = next((t for part in _parts(transform) for t in _floats(part)), None)
    if not isinstance(value, Tensor):
        value = as_tensor(value, "values", columns).to(None if like is None else like.device)
    whole = not value.is_floating_point()
    if value.is_complex():
        raise TypeError(f"expected values of real numbers; got {value.dtype}")
    if like is None or (whole and transform.codomain.is_discrete):
        return value
    subtracts = any(isinstance(part, Units) and part.active for part in _parts(transform))
    return value.to(torch.float64 if subtracts and (whole or value.dtype is torch.float64) else like.dtype)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what `module.modules()` does, but for what is the context's, by a walk that compilers trace."""
    yield module
    for name, child in module._modules.items():
        if child is not None and name != "context_units":
            yield from _parts(child)


def _floats(module: nn.Module) -> list[Tensor]:
    """Return the module's own parameters and buffers of real numbers."""
    own = (*module._parameters.values(), *module._buffers.values())
    return [t for t in own if t is not None and t.is_floating_point()]
