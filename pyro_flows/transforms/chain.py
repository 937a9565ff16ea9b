"""Composition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast, overload

import torch
from pyro.distributions.conditional import (
    ConditionalComposeTransformModule,
    ConditionalTransform,
    ConstantConditionalTransform,
)
from torch import Size, Tensor, nn
from torch.distributions import ComposeTransform, Transform, constraints
from torch.distributions.transforms import _InverseTransform

from .._tracing import is_traced
from ..transform import FlowTransform, Inverse
from ._codomain import codomain_of
from ._levels import check_levels
from .foreign import Foreign
from .memory.region import run_in_regions
from .passing import Step, run

__all__ = ["Chain", "chained"]


def _adopt(part: Transform | ConditionalTransform) -> FlowTransform:
    """Return any transform as one of ours, with its parameters registered."""
    if isinstance(part, FlowTransform):
        return part
    if isinstance(part, _InverseTransform):
        return _adopt(part.inv).inv
    if isinstance(part, ComposeTransform):
        return Chain(part.parts)
    if isinstance(part, ConditionalComposeTransformModule):
        return Chain(part.transforms)
    if isinstance(part, ConstantConditionalTransform):
        return _adopt(part.transform)
    return Foreign(part)


class Chain(FlowTransform):
    r"""y = f_n(… f_2(f_1(x)) …), log|det dy/dx| the sum of the parts'; the first part is next to the noise.

    One pass evaluates the value and the log-det of all parts. Every part that takes a context gets
    the chain's.

    Args:
        parts: transforms of ours, Pyro's or torch's, in any mix; the parameters of inverses and of
            composed transforms are registered too.
        context_units: what the context passes on its way to the parts; None if it comes as it is.

    Attributes:
        memory: what is kept for the backward pass, as `pyro_flows.save_memory` chose.

    Raises:
        TypeError: if a part is no transform.
        ValueError: if the shapes, contexts or pixel levels of two parts do not fit.

    Example:
        >>> import torch, pyro.distributions as dist, pyro_flows as pf
        >>> chain = pf.Chain([pf.real_nvp(3), dist.transforms.ExpTransform()])
        >>> y, log_det = chain.forward_and_log_det(torch.randn(5, 3))
        >>> bool((y > 0).all()), log_det.shape
        (True, torch.Size([5]))
    """

    memory = "plain"
    kept_every = 1  # of the layers, how many share one kept value

    def __init__(
        self, parts: Iterable[Transform | ConditionalTransform], *, context_units: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.context_units = context_units
        self.parts = nn.ModuleList(_adopt(part) for part in parts)
        self.bijective = all(part.bijective for part in self)
        contexts = {part.context_shape for part in self if part.context_shape is not None}
        if len(contexts) > 1:
            raise ValueError(f"expected parts with one context shape; got {contexts}")
        self.context_shape = contexts.pop() if contexts else None
        check_levels(layer for _, layer in reversed(list(chained(self))))
        # Event dimensions as torch's ComposeTransform counts them: as many as the widest part needs.
        event_dim = 0
        for part in reversed(list(self)):
            event_dim = max(event_dim, part.codomain.event_dim)
            event_dim += part.domain.event_dim - part.codomain.event_dim
        dims = [event_dim]
        for part in self:
            dims.append(dims[-1] + part.codomain.event_dim - part.domain.event_dim)
        self._excess = [d - part.domain.event_dim for d, part in zip(dims, self, strict=False)]
        self._composite = [any(isinstance(m, Chain) for m in part.modules()) for part in self]
        self.domain = self._widened(self[0].domain if len(self) else constraints.real, dims[0])
        self.codomain = self._widened(codomain_of(self), dims[-1])
        self.domain_shape = self._known_shape(dims)
        if self.domain_shape is not None:
            self.codomain_shape = self.domain_shape
            for part in self:
                self.codomain_shape = part.forward_shape(self.codomain_shape)

    @staticmethod
    def _widened(constraint: constraints.Constraint, event_dim: int) -> constraints.Constraint:
        more = event_dim - constraint.event_dim
        return constraints.independent(constraint, more) if more else constraint

    def _known_shape(self, dims: list[int]) -> Size | None:
        parts = list(self)
        for i, part in enumerate(parts):
            if part.domain_shape is not None and dims[i] == part.domain.event_dim:
                shape = part.domain_shape
                for earlier in reversed(parts[:i]):
                    shape = earlier.inverse_shape(shape)
                return Size(shape)
        return None

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and the sum of the log-dets."""
        self._check(x.shape, self.domain_shape, self.domain.event_dim)
        return self._pass(self._steps(), x, context, inverse=False)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the sum of the inverse's log-dets."""
        self._check(y.shape, self.codomain_shape, self.codomain.event_dim)
        return self._pass(self._steps()[::-1], y, context, inverse=True)

    def _steps(self) -> list[Step]:
        # Older compilers cannot iterate over the chain, nor look at a generic type.
        parts = cast("Iterable[FlowTransform]", self.parts)
        return [Step(*all_) for all_ in zip(parts, self._excess, self._composite, strict=True)]

    def _pass(
        self, steps: Sequence[Step], value: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        if not steps:
            return value, value.new_zeros(self._batch(value))
        context = self.inner_context(context)
        if self.memory == "plain" or is_traced() or not torch.is_grad_enabled():
            return run(steps, value, context, inverse=inverse)
        if context is not None and self.context_shape is not None:
            # A lost input is found with its output's batch shape, which the context may have widened.
            side = self.codomain if inverse else self.domain
            cut = value.dim() - side.event_dim
            wider = context.shape[: context.dim() - len(self.context_shape)]
            value = value.expand(torch.broadcast_shapes(value.shape[:cut], wider) + value.shape[cut:])
        return run_in_regions(steps, value, context, inverse=inverse, every=self.kept_every)

    def inner_context(self, context: Tensor | None) -> Tensor | None:
        """Return the context as the parts are given it."""
        if context is None or self.context_units is None:
            return context
        return cast(Tensor, self.context_units(context))

    def _batch(self, x: Tensor) -> Size:
        return x.shape[: x.dim() - self.domain.event_dim]

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of y for an x of the given shape."""
        self._check(shape, self.domain_shape, self.domain.event_dim)
        for part in self:
            shape = part.forward_shape(shape)
        return Size(shape)

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of x for a y of the given shape."""
        self._check(shape, self.codomain_shape, self.codomain.event_dim)
        for part in reversed(list(self)):
            shape = part.inverse_shape(shape)
        return Size(shape)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[FlowTransform]:
        return cast(Iterator[FlowTransform], iter(self.parts))

    @overload
    def __getitem__(self, index: int) -> FlowTransform: ...

    @overload
    def __getitem__(self, index: slice) -> Chain: ...

    def __getitem__(self, index: int | slice) -> FlowTransform:
        """Return a part, or the chain of a slice of the parts, which are shared."""
        if not isinstance(index, slice):
            return cast(FlowTransform, self.parts[index])
        chain = Chain(list(self)[index], context_units=self.context_units)
        chain.memory, chain.kept_every = self.memory, self.kept_every
        return chain.train(self.training)


def chained(transform: FlowTransform, name: str = "transform") -> Iterator[tuple[str, FlowTransform]]:
    """Yield the layers that follow one another, the one next to the data first, with their names.

    Chains and inverses of chains are opened, whatever else holds transforms is a layer; so is an inner chain
    with units of its own for the context.
    """
    if isinstance(transform, Chain):
        for i in reversed(range(len(transform))):
            part = transform[i]
            if isinstance(part, Chain) and part.context_units is not None:
                yield f"{name}.parts.{i}", part
            else:
                yield from chained(part, f"{name}.parts.{i}")
    elif isinstance(transform, Inverse) and isinstance(transform.transform, Chain):
        for i, part in enumerate(transform.transform):
            yield from chained(part.inv, f"{name}.transform.parts.{i}")
    else:
        yield name, transform
