"""`FlowTransform`, the one base class of every transform here.

The direction, stated once: `x` is the base side (noise), `y` the data side. *Forward* is sampling,
x → y; *inverse* is scoring, y → x, "normalising". Papers that write f: data → latent are our inverse.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TransformModule
from pyro.distributions.conditional import ConditionalTransform
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ._memo import Memo

__all__ = ["Conditioned", "FlowTransform", "Inverse"]


class FlowTransform(TransformModule):
    r"""An invertible map y = f(x) that evaluates itself and its log-det in one pass.

    A subclass writes `forward_and_log_det` and `inverse_and_log_det`, and sets

    - `domain`, `codomain`: the constraints of the base side and of the data side;
    - `domain_shape`, `codomain_shape`: the event shapes, or None if any size will do;
    - `context_shape`: the event shape of the context it needs, or None;
    - `reversible`: whether its inverse is cheap and exact enough to recover inputs that were not kept.

    The class makes a `torch.distributions` transform of that: ``t(x)``, ``t.inv(y)`` and
    ``t.log_abs_det_jacobian(x, y)`` together evaluate every network once, and never return a value that
    was computed before a parameter, buffer, mode or context changed (except for writing to ``p.data``
    outside an optimiser, which cannot be seen). Tensors are recognised by identity: to differentiate the
    log-density at a fresh sample through the inverse, score an alias of it (``y.view_as(y)``).

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer = pf.real_nvp(3)
        >>> y, log_det = layer.forward_and_log_det(torch.randn(5, 3))
        >>> y.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    bijective = True
    domain: constraints.Constraint
    codomain: constraints.Constraint
    domain_shape: Size | None = None
    codomain_shape: Size | None = None
    context_shape: Size | None = None
    reversible = False
    _forward = True  # which way `forward` runs in the memo; an inverse shares its transform's

    def __init__(self) -> None:
        super().__init__()
        self._memo = Memo()

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y = f(x) and log|det dy/dx|, of shapes (*batch, *event) and (*batch,)."""

    @abstractmethod
    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x = f⁻¹(y) and log|det dx/dy|, of shapes (*batch, *event) and (*batch,)."""

    def condition(self, context: Tensor) -> FlowTransform:
        """Return the transform given `context`, of shape (*batch, *context_shape).

        The context's batch dimensions broadcast against the data's from the right. A transform
        that takes no context returns itself.

        Raises:
            ValueError: if the context's shape does not end in `context_shape`.
        """
        return self if self.context_shape is None else Conditioned(self, context)

    def routed(self, context: Tensor | None) -> Tensor | None:
        """Return `context` if this transform takes one, else None."""
        return None if self.context_shape is None else context

    @property
    def inv(self) -> FlowTransform:
        """The inverse transform: a module that shares this one's parameters and memo."""
        # Held weakly: a cycle would keep contexts and their graphs until the garbage collector ran.
        known: FlowTransform | None = self._inv() if self._inv is not None else None
        if known is None:
            known = Inverse(self)
            object.__setattr__(self, "_inv", weakref.ref(known))
        return known

    def with_cache(self, cache_size: int = 1) -> FlowTransform:
        """Return the transform itself: its memo does already what torch's cache is for."""
        return self

    def clear_cache(self) -> None:
        """Forget the last evaluation. Never needed; here for code that calls it on Pyro's transforms."""
        self._memo.clear()

    def recall(self, y: Tensor) -> Tensor | None:
        """Return the x that this very tensor y = f(x) was computed from, if nothing changed since."""
        return self._recall(y, forward=not self._forward)

    def recall_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return what `recall` returns, and log|det dx/dy|, if nothing changed since."""
        if not self.bijective:
            return None
        return self._memo.recall_and_log_det(self._subject, y, forward=not self._forward)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log|det dy/dx| of shape (*batch,), without a new evaluation after `f` or `f⁻¹`."""
        log_det = self._memo.take(self._subject, x, y, forward=self._forward)
        return self.forward_and_log_det(x)[1] if log_det is None else log_det

    def _call(self, x: Tensor) -> Tensor:
        self._check(x.shape, self.domain_shape, self.domain.event_dim)
        y = self._recall(x, forward=self._forward)
        if y is None:
            y, log_det = self.forward_and_log_det(x)
            y = self._memo.store(self._subject, x, y, log_det, forward=self._forward)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        self._check(y.shape, self.codomain_shape, self.codomain.event_dim)
        x = self.recall(y)
        if x is None:
            x, log_det = self.inverse_and_log_det(y)
            x = self._memo.store(self._subject, y, x, log_det, forward=not self._forward)
        return x

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of `f(x)` for an `x` of the given shape."""
        return self._swap(shape, self.domain_shape, self.codomain_shape, self.domain.event_dim)

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of `f⁻¹(y)` for a `y` of the given shape."""
        return self._swap(shape, self.codomain_shape, self.domain_shape, self.codomain.event_dim)

    def _swap(self, shape: Sequence[int], old: Size | None, new: Size | None, event_dim: int) -> Size:
        self._check(shape, old, event_dim)
        if old is None or new is None:
            return Size(shape)
        return Size(shape[: len(shape) - event_dim]) + new

    def _check(self, shape: Sequence[int], event_shape: Size | None, event_dim: int) -> None:
        known = event_shape is None or tuple(shape[len(shape) - event_dim :]) == event_shape
        if len(shape) < event_dim or not known:
            wanted = f"event_dim {event_dim}" if event_shape is None else f"event shape {tuple(event_shape)}"
            raise ValueError(f"{type(self).__name__} expected {wanted}; got shape {tuple(shape)}")

    def _recall(self, result: Tensor, *, forward: bool) -> Tensor | None:
        # If many x give one y, the x that a sample came from is not the one that scoring would draw.
        return self._memo.recall(self._subject, result, forward=forward) if self.bijective else None

    @property
    def _subject(self) -> nn.Module:
        return self if self._forward else self.transform

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)


# Not a base class: its metaclass would keep `pyro.nn.PyroModule` from adopting our modules.
ConditionalTransform.register(FlowTransform)


class Inverse(FlowTransform):
    """The inverse x = f⁻¹(y) of a transform, as a transform: what ``t.inv`` returns.

    Shares the parameters and the memo of `transform`; ``t.inv.inv is t``.
    """

    _forward = False

    def __init__(self, transform: FlowTransform) -> None:
        super().__init__()
        self.transform = transform
        self.__dict__.update(  # past Module's own, slow setting: Pyro asks for an inverse at each scoring
            _memo=transform._memo,
            bijective=transform.bijective,
            domain=transform.codomain,
            codomain=transform.domain,
            domain_shape=transform.codomain_shape,
            codomain_shape=transform.domain_shape,
            context_shape=transform.context_shape,
            reversible=transform.reversible,
        )

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return `transform.inverse_and_log_det(x, context)`."""
        return self.transform.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return `transform.forward_and_log_det(y, context)`."""
        return self.transform.forward_and_log_det(y, context)

    def condition(self, context: Tensor) -> FlowTransform:
        """Return the inverse of the transform given `context`."""
        return self if self.context_shape is None else self.transform.condition(context).inv

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return `transform.inverse_shape(shape)`."""
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return `transform.forward_shape(shape)`."""
        return self.transform.forward_shape(shape)

    @property
    def inv(self) -> FlowTransform:
        """The transform this is the inverse of."""
        return self.transform

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        object.__setattr__(self.transform, "_inv", weakref.ref(self))


class Conditioned(FlowTransform):
    """A transform y = f(x; c) together with its context c: what ``t.condition(c)`` returns.

    Shares the parameters of `transform` and follows its mode; copies and pickles with the context
    detached.
    """

    def __init__(self, transform: FlowTransform, context: Tensor) -> None:
        super().__init__()
        wanted = transform.context_shape
        if wanted is None:
            raise ValueError(f"{type(transform).__name__} takes no context")
        batch = context.dim() - len(wanted)
        if batch < 0 or context.shape[batch:] != wanted:
            raise ValueError(
                f"expected a context of event shape {tuple(wanted)}; got shape {tuple(context.shape)}"
            )
        self.transform = transform
        self.bijective = transform.bijective
        self.register_buffer("context", context, persistent=False)
        self.context_batch = context.shape[:batch]
        self.domain, self.codomain = transform.domain, transform.codomain
        self.domain_shape, self.codomain_shape = transform.domain_shape, transform.codomain_shape
        self.training = transform.training

    context: Tensor

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return `transform.forward_and_log_det(x, c)`; the argument `context` is ignored."""
        return self.transform.forward_and_log_det(x, self.context)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return `transform.inverse_and_log_det(y, c)`; the argument `context` is ignored."""
        return self.transform.inverse_and_log_det(y, self.context)

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of `f(x; c)`, the context's batch dimensions included."""
        return self._with_batch(self.transform.forward_shape(shape), self.codomain.event_dim)

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """Return the shape of `f⁻¹(y; c)`, the context's batch dimensions included."""
        return self._with_batch(self.transform.inverse_shape(shape), self.domain.event_dim)

    def _with_batch(self, shape: Size, event_dim: int) -> Size:
        cut = len(shape) - event_dim
        return torch.broadcast_shapes(shape[:cut], self.context_batch) + shape[cut:]

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["_buffers"] = {**self._buffers, "context": self.context.detach()}
        return state
