"""The parameters of a model that a fit trains beside the guide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from ..model.density import trace_at

__all__ = ["model_parameters"]


def model_parameters(
    model: Callable[..., Any],
    values: dict[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    without: Iterable[Tensor] = (),
) -> dict[str, Tensor]:
    """Return the unconstrained values of what is trained, by name: `pyro.param` and the weights of modules.

    Args:
        model: the model.
        values: of its latent sites, at which it is run.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        without: tensors to leave out, such as the guide's.
    """
    seen = {id(tensor) for tensor in without}
    found: dict[str, Tensor] = {}
    for name, site in trace_at(model, values, args, kwargs).nodes.items():
        if site["type"] != "param":
            continue
        value = site["value"]
        free = value.unconstrained() if hasattr(value, "unconstrained") else value
        if free.is_leaf and free.requires_grad and id(free) not in seen:
            seen.add(id(free))
            found[name] = free
    return found
