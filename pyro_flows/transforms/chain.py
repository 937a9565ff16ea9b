"""Composition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from pyro.distributions.conditional import (
    ConditionalComposeTransformModule,
    ConditionalTransform,
    ConstantConditionalTransform,
)
from torch import Size, Tensor, nn
from torch.distributions import ComposeTransform, Transform, constraints
from torch.distributions.transforms import _InverseTransform

from ..partitions import Partition
from ..transform import FlowTransform
from ._image import image
from .coupling import Coupling
from .foreign import Foreign

__all__ = ["Chain"]


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


class _Cut(NamedTuple):
    """A value that a coupling has left in two parts.

    The next one, if it moves the other side of the same cut, takes them as they are: putting them
    together and apart again was a tenth of a training step in two dimensions.
    """

    partition: Partition
    passive: Tensor
    active: Tensor


def _whole(held: Tensor | _Cut) -> Tensor:
    return held.partition.merge(held.passive, held.active) if isinstance(held, _Cut) else held


def _split(held: Tensor | _Cut, partition: Partition) -> tuple[Tensor, Tensor]:
    if isinstance(held, _Cut) and partition.mirrors(held.partition):
        return held.active, held.passive
    return partition.split(_whole(held))


class Chain(FlowTransform):
    r"""y = f_n(… f_2(f_1(x)) …), log|det dy/dx| the sum of the parts'; the first part is next to the noise.

    One pass evaluates the value and the log-det of all parts. Every part that takes a context gets
    the chain's.

    Args:
        parts: transforms of ours, Pyro's or torch's, in any mix; the parameters of inverses and of
            composed transforms are registered too.

    Raises:
        TypeError: where a part is no transform.
        ValueError: where the shapes or contexts of two parts do not fit.

    Example:
        >>> import torch, pyro.distributions as dist, pyro_flows as pf
        >>> chain = pf.Chain([pf.real_nvp(3), dist.transforms.ExpTransform()])
        >>> y, log_det = chain.forward_and_log_det(torch.randn(5, 3))
        >>> bool((y > 0).all()), log_det.shape
        (True, torch.Size([5]))
    """

    def __init__(self, parts: Iterable[Transform | ConditionalTransform]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_adopt(part) for part in parts)
        self.bijective = all(part.bijective for part in self)
        contexts = {part.context_shape for part in self if part.context_shape is not None}
        if len(contexts) > 1:
            raise ValueError(f"expected parts with one context shape; got {contexts}")
        self.context_shape = contexts.pop() if contexts else None
        # Event dimensions as torch's ComposeTransform counts them: as many as the widest part needs.
        event_dim = 0
        for part in reversed(list(self)):
            event_dim = max(event_dim, part.codomain.event_dim)
            event_dim += part.domain.event_dim - part.codomain.event_dim
        dims = [event_dim]
        for part in self:
            dims.append(dims[-1] + part.codomain.event_dim - part.domain.event_dim)
        self._excess = [d - part.domain.event_dim for d, part in zip(dims, self, strict=False)]
        self.domain = self._widened(self[0].domain if len(self) else constraints.real, dims[0])
        self.codomain = self._widened(image(self), dims[-1])
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
        return self._pass(zip(self, self._excess, strict=True), x, context, inverse=False)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the sum of the inverse's log-dets."""
        self._check(y.shape, self.codomain_shape, self.codomain.event_dim)
        steps = zip(reversed(list(self)), reversed(self._excess), strict=True)
        return self._pass(steps, y, context, inverse=True)

    def _pass(
        self,
        steps: Iterable[tuple[FlowTransform, int]],
        value: Tensor,
        context: Tensor | None,
        *,
        inverse: bool,
    ) -> tuple[Tensor, Tensor]:
        total: Tensor | None = None
        held: Tensor | _Cut = value
        for part, excess in steps:
            given = None if part.context_shape is None else context
            if isinstance(part, Coupling):
                passive, active, log_det = part.move(*_split(held, part.partition), given, inverse=inverse)
                held = _Cut(part.partition, passive, active)
            elif inverse:
                held, log_det = part.inverse_and_log_det(_whole(held), given)
            else:
                held, log_det = part.forward_and_log_det(_whole(held), given)
            if excess:
                log_det = log_det.flatten(-excess).sum(-1)
            total = log_det if total is None else total + log_det
        return _whole(held), value.new_zeros(self._batch(value)) if total is None else total

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

    def __getitem__(self, index: int) -> FlowTransform:
        return cast(FlowTransform, self.parts[index])
