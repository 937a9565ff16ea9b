"""A distribution that was built elsewhere, as a module: its tensors follow the module's dtype and device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import _InverseTransform

__all__ = ["Given"]

T = TypeVar("T")


class Given(nn.Module):
    """Returns `distribution` when called; modules inside it, such as its own transforms, are registered.

    Raises:
        ValueError: if a tensor of the distribution requires a gradient: no module would own what is learned.
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        inside = list(_inside(distribution))
        if any(isinstance(value, Tensor) and value.requires_grad for value in inside):
            name = type(distribution).__name__
            raise ValueError(
                f"expected a base without parameters; got a {name} with some: give a module that owns them, "
                f"such as bases.Base(dist.{name}, …), or build FlowDistribution(base, transform) yourself"
            )
        self.distribution = distribution
        self.inner = nn.ModuleList(value for value in inside if isinstance(value, nn.Module))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Given:
        self.distribution = _mapped(self.distribution, fn)
        return super()._apply(fn, recurse)

    def forward(self) -> Distribution:
        return self.distribution

    def extra_repr(self) -> str:
        return repr(self.distribution)


_HOLDERS = Distribution, Transform, Constraint


def _inside(value: object) -> Iterator[object]:
    """Yield the tensors and modules that a distribution holds, those inside its parts included."""
    if isinstance(value, Tensor | nn.Module):
        yield value
    elif isinstance(value, _InverseTransform):
        yield from _inside(value.inv)
    elif isinstance(value, _HOLDERS):
        yield from _inside([inner for name, inner in vars(value).items() if name != "_inv"])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _inside(inner)


def _mapped(value: T, fn: Callable[[Tensor], Tensor]) -> T:
    """Return a copy of a distribution, or of what it holds, with `fn` applied to every tensor."""
    new: Any = value
    if isinstance(value, Tensor):
        new = fn(value)
    elif isinstance(value, nn.Module):
        pass  # registered, and moved in place
    elif isinstance(value, _InverseTransform):
        new = _mapped(value.inv, fn).inv
    elif isinstance(value, _HOLDERS):
        new = copy.copy(value)
        held = vars(new).items()
        vars(new).update({name: None if name == "_inv" else _mapped(inner, fn) for name, inner in held})
    elif type(value) in (list, tuple):
        new = type(value)(_mapped(inner, fn) for inner in value)  # type: ignore[call-arg, attr-defined]
    return new
