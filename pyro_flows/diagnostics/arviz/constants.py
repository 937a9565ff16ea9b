"""A model's arguments as ArviZ's constant data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
from torch import Tensor

from ...infer.model.model_draws import ModelDraws
from .naming import Names, Variable, array

__all__ = ["constant_data"]


def constant_data(result: ModelDraws, names: Names, observed: Mapping[str, Variable]) -> dict[str, Variable]:
    """Return the model's arguments that are numbers or arrays and were not observed.

    The first dimension is named after the plate of its size if there is only one such plate. An argument
    called as an observed site or a dimension is, gets another name: "y_argument".
    """
    sizes: dict[int, set[str]] = {}
    for name, value in result.evaluation.observed.items():
        for dim, plate in result.evaluation.plates.get(name, {}).items():
            index = dim - result.evaluation.event_dims.get(name, 0)
            sizes.setdefault(value.shape[index], set()).add(plate)
    kept: dict[str, Variable] = {}
    for name, value in _arguments(result).items():
        if isinstance(value, bool) or not isinstance(value, Tensor | np.ndarray | Number):
            continue
        whole = array(value)
        if any(_same(whole, array(data)) for data in result.evaluation.observed.values()):
            continue
        if name in observed or name in names.known:  # a plate is often called after its size
            name = f"{name}_argument"
        dims = [f"{name}_dim_{i}" for i in range(whole.ndim)]
        if dims and len(sizes.get(len(whole), ())) == 1:
            dims[0] = next(iter(sizes[len(whole)]))
        dims = list(names.dims.get(name, dims))
        if len(dims) != whole.ndim:
            raise ValueError(f"expected {whole.ndim} names of dimensions of {name!r}; got {dims}")
        names.known |= set(dims)
        kept[name] = (dims, whole)
    return kept


def _same(a: Any, b: Any) -> bool:
    return (
        a.size == b.size and a.squeeze().shape == b.squeeze().shape and bool((a.ravel() == b.ravel()).all())
    )


def _arguments(result: ModelDraws) -> dict[str, Any]:
    """Return the model's arguments by name, those of ``*args`` numbered."""
    if result.model is None:
        return {}
    try:
        signature = inspect.signature(result.model)
        bound = signature.bind(*result.args, **result.kwargs).arguments
    except (TypeError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}_{i}": part for i, part in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found
