"""Settings: an object, keywords, or keywords over an object; and the checks that all of them share.

A field may be None if that is its default. Numbers may be NumPy's; they are kept as Python's, which a
checkpoint can hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from numbers import Real
from operator import index
from typing import Any, TypeVar

__all__ = [
    "check_common",
    "check_functions",
    "check_integers",
    "check_numbers",
    "check_seed",
    "whole_number",
    "with_keywords",
]

S = TypeVar("S")


def with_keywords(kind: type[S], settings: S | None, keywords: Mapping[str, Any]) -> S:
    """Return `settings`, or the defaults, with the fields in `keywords` replaced.

    Raises:
        TypeError: if `settings` is something else, or a keyword names no field of it.
    """
    if settings is None:
        settings = kind()
    if not isinstance(settings, kind):
        raise TypeError(f"expected settings as {kind.__name__}; got {type(settings).__name__}")
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    for name in keywords:
        if name not in known:
            raise TypeError(f"expected settings among {', '.join(known)}; got {name}")
    return replace(settings, **keywords)  # type: ignore[type-var]


def check_integers(settings: Any, names: Iterable[str], *, least: int = 1) -> None:
    """Make these fields Python's integers, whoever's they are; raise unless they are ≥ `least`."""
    for name, value in _given(settings, names):
        object.__setattr__(settings, name, whole_number(name, value, least=least))


def check_numbers(
    settings: Any, names: Iterable[str], *, positive: bool = False, infinite: bool = False
) -> None:
    """Make these fields Python's floats, whoever's they are; raise unless they are ≥ 0 (> 0) and finite."""
    for name, value in _given(settings, names):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"expected {name} as a number; got {value!r}")
        number = float(value)
        if not (number > 0 if positive else number >= 0):
            raise ValueError(f"expected {name} {'>' if positive else '≥'} 0; got {number}")
        if math.isinf(number) and not infinite:
            raise ValueError(f"expected a finite {name}; got {number}")
        object.__setattr__(settings, name, number)


def _given(settings: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of fields, without those that are None if that is what they are by default."""
    defaults = {field.name: field.default for field in fields(settings)}
    for name in names:
        value = getattr(settings, name)
        if value is not None or defaults[name] is not None:
            yield name, value


def whole_number(name: str, value: Any, *, least: int) -> int:
    """Return an integer of Python, whoever's it is; raise unless it is ≥ `least`."""
    whole = _whole(name, value)
    if whole < least:
        raise ValueError(f"expected {name} ≥ {least}; got {whole}")
    return whole


def _whole(name: str, value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise TypeError(f"expected {name} as an integer; got {value!r}")


def check_functions(settings: Any, names: Iterable[str]) -> None:
    """Raise unless these fields are functions."""
    for name, value in _given(settings, names):
        if not callable(value):
            raise TypeError(f"expected {name} as a function; got {value!r}")


def check_common(settings: Any) -> None:
    """Raise unless the fields that every run has are as it needs them."""
    check_numbers(settings, ("learning_rate",), positive=True)
    check_numbers(settings, ("clip",), positive=True, infinite=True)
    check_numbers(settings, ("checkpoint_every",), infinite=True)
    if not isinstance(settings.compile, bool | str):
        raise TypeError(f"expected compile as True, False or a backend's name; got {settings.compile!r}")
    check_seed(settings)


def check_seed(settings: Any) -> None:
    """Raise unless the seed is an integer that generators can be seeded by."""
    for name, value in _given(settings, ("seed",)):
        seed = _whole(name, value)
        if not 0 <= seed < 2**32:
            raise ValueError(f"expected a seed in [0, 2³²); got {seed}")
        object.__setattr__(settings, name, seed)
