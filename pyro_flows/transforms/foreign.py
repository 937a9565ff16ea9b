"""Pyro's and torch's own transforms, made to look like ours inside a chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from pyro.distributions.conditional import ConditionalTransform
from torch import Size, Tensor, nn
from torch.distributions import Transform

from ..transform import FlowTransform

__all__ = ["Foreign"]


class Foreign(FlowTransform):
    """y = t(x) for a transform t of Pyro's or torch's; `Chain` wraps its foreign parts so.

    Their caches serve values from before an optimiser step, so they are emptied before and after
    each use. Parameters of modules inside t are registered.

    Args:
        transform: a `torch.distributions.Transform`, or one of Pyro's conditional transforms.
        context_dim: length of the context vector that a conditional transform takes.

    Raises:
        TypeError: where `transform` is neither.
        ValueError: where a conditional transform comes without `context_dim`.

    Example:
        >>> import torch, pyro.distributions as dist, pyro_flows as pf
        >>> exp = pf.transforms.Foreign(dist.transforms.ExpTransform())
        >>> y, log_det = exp.forward_and_log_det(torch.zeros(3))
        >>> y.tolist(), log_det.shape
        ([1.0, 1.0, 1.0], torch.Size([3]))
    """

    def __init__(self, transform: Transform | ConditionalTransform, *, context_dim: int = 0) -> None:
        super().__init__()
        name = type(transform).__name__
        if isinstance(transform, ConditionalTransform):
            if context_dim < 1:
                raise ValueError(f"expected Foreign({name}, context_dim=…) for a conditional transform")
            self.context_shape = Size([context_dim])
        elif not isinstance(transform, Transform):
            raise TypeError(f"expected a transform of ours, Pyro's or torch's; got {name}")
        self.foreign = transform
        self.domain, self.codomain = transform.domain, transform.codomain
        self.bijective = transform.bijective
        # What no module registers: modules inside plain transforms, and tensors for the memo to watch.
        modules: list[nn.Module] = []
        self.constants: list[Tensor] = []
        _walk(transform, modules.append, self.constants.append)
        self.inner = nn.ModuleList(m for m in modules if m is not transform)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return t(x) and its log-det."""
        transform = self._fresh(context)
        y = transform(x)
        log_det = transform.log_abs_det_jacobian(x, y)
        _empty(transform)
        return y, log_det

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return t⁻¹(y) and its log-det."""
        transform = self._fresh(context)
        x = transform.inv(y)
        log_det = -transform.log_abs_det_jacobian(x, y)
        _empty(transform)
        return x, log_det

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of t(x)."""
        return Size(getattr(self.foreign, "forward_shape", Size)(Size(shape)))

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of t⁻¹(y)."""
        return Size(getattr(self.foreign, "inverse_shape", Size)(Size(shape)))

    def _fresh(self, context: Tensor | None) -> Transform:
        if self.context_shape is None:
            _empty(self.foreign)
            return self.foreign
        if context is None:
            raise ValueError(f"{type(self.foreign).__name__} expected a context; got none")
        return cast(ConditionalTransform, self.foreign).condition(context)


def _children(transform: object) -> list[object]:
    values = list(vars(transform).values())
    for value in vars(transform).values():
        if isinstance(value, list | tuple):
            values.extend(value)
    return values


def _walk(transform: object, module: Callable[[nn.Module], None], constant: Callable[[Tensor], None]) -> None:
    """Report every module and every unregistered tensor inside a transform."""
    if isinstance(transform, nn.Module):
        module(transform)
        return
    for value in _children(transform):
        if isinstance(value, Tensor):
            constant(value)
        elif isinstance(value, Transform | nn.Module) and value is not getattr(transform, "_inv", None):
            _walk(value, module, constant)


def _empty(transform: object) -> None:
    """Drop whatever a transform, and those inside it, have cached."""
    inside = transform.modules() if isinstance(transform, nn.Module) else [transform]
    for here in inside:
        for name, value in list(vars(here).items()):
            if name == "_cached_x_y":
                object.__setattr__(here, name, (None, None))
            elif name.startswith(("_cache_", "_cached_")) and isinstance(value, Tensor):
                object.__setattr__(here, name, None)
    if not isinstance(transform, nn.Module):
        for value in _children(transform):
            if isinstance(value, Transform) and value is not getattr(transform, "_inv", None):
                _empty(value)
