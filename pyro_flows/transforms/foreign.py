"""Pyro's and torch's own transforms as parts of a chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from pyro.distributions.conditional import ConditionalTransform
from torch import Size, Tensor, nn
from torch.distributions import Transform

from ..transform import FlowTransform

__all__ = ["Foreign"]


class Foreign(FlowTransform):
    """y = t(x) for a transform t of Pyro's or torch's; `Chain` wraps its foreign parts so.

    Their caches would return values from before an optimiser step, so they are cleared before and
    after each use. The parameters of modules inside t are registered.

    Args:
        transform: a `torch.distributions.Transform`, or one of Pyro's conditional transforms.
        context_dim: length of the context vector that a conditional transform takes.

    Raises:
        TypeError: if `transform` is neither.
        ValueError: if a conditional transform comes without `context_dim`.

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
        # Not registered by any module: modules inside plain transforms, and tensors, which the memo watches.
        inside = list(_inside(transform))
        self.constants = [value for value in inside if isinstance(value, Tensor)]
        self.inner = nn.ModuleList(m for m in inside if isinstance(m, nn.Module) and m is not transform)
        self._caching = [
            part
            for value in inside
            if not isinstance(value, Tensor)
            for part in (value.modules() if isinstance(value, nn.Module) else (value,))
        ]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return t(x) and its log-det."""
        transform = self._fresh(context)
        y = transform(x)
        log_det = transform.log_abs_det_jacobian(x, y)
        self._empty()
        return y, log_det

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return t⁻¹(y) and its log-det."""
        transform = self._fresh(context)
        x = transform._inv_call(y)  # `.inv` makes an attribute at its first use: a second graph
        log_det = -transform.log_abs_det_jacobian(x, y)
        self._empty()
        return x, log_det

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of t(x)."""
        return Size(getattr(self.foreign, "forward_shape", Size)(Size(shape)))

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of t⁻¹(y)."""
        return Size(getattr(self.foreign, "inverse_shape", Size)(Size(shape)))

    def _fresh(self, context: Tensor | None) -> Transform:
        self._empty()
        if self.context_shape is None:
            return self.foreign
        if context is None:
            raise ValueError(f"{type(self.foreign).__name__} expected a context; got none")
        return cast(ConditionalTransform, self.foreign).condition(context)

    def _empty(self) -> None:
        for here in self._caching:
            for name, value in list(vars(here).items()):
                if name == "_cached_x_y":
                    object.__setattr__(here, name, (None, None))
                elif name.startswith(("_cache_", "_cached_")) and isinstance(value, Tensor):
                    object.__setattr__(here, name, None)


def _inside(transform: object) -> Iterator[object]:
    """Yield a transform, the transforms and modules in it, and its tensors that no module registers."""
    yield transform
    if isinstance(transform, nn.Module):
        return
    inverse = getattr(transform, "_inv", None)
    for value in vars(transform).values():
        for inner in value if isinstance(value, list | tuple) else (value,):
            if isinstance(inner, Tensor):
                yield inner
            elif isinstance(inner, Transform | nn.Module) and inner is not inverse:
                yield from _inside(inner)
