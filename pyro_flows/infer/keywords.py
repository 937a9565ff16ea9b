"""Telling a function's own settings from the keyword arguments of a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import nn

__all__ = ["told_apart"]


def told_apart(
    model: Callable[..., Any], settings: type, kwargs: dict[str, Any], *, caller: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which keyword arguments are settings, and which are the model's.

    Args:
        model: the model.
        settings: the dataclass whose fields are settings.
        kwargs: all of them.
        caller: the function that they were given to.

    Raises:
        TypeError: if the model takes an argument of a setting's name, and it was given by keyword.
    """
    names = {field.name for field in fields(settings)}
    own = {name: value for name, value in kwargs.items() if name in names}
    if own:
        function = model.forward if isinstance(model, nn.Module) else model
        try:
            takes = set(inspect.signature(function).parameters)
        except (TypeError, ValueError):  # it does not tell
            takes = set()
        if both := sorted(takes & set(own)):
            raise TypeError(
                f"expected {', '.join(both)} by position or inside settings={settings.__name__}(…), since "
                f"the model and {caller} both have an argument of this name; got a keyword"
            )
    return own, {name: value for name, value in kwargs.items() if name not in names}
