"""Settings: an object, keywords, or keywords over an object; and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

__all__ = ["check_common", "check_integers", "check_positive", "check_seed", "with_keywords"]

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


def check_integers(settings: Any, names: Iterable[str]) -> None:
    """Raise unless these fields are integers ≥ 1, or None."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"expected {name} as an integer; got {value!r}")
        if value is not None and value < 1:
            raise ValueError(f"expected {name} ≥ 1; got {value}")


def check_positive(settings: Any, names: Iterable[str]) -> None:
    """Raise unless these fields are positive numbers or None."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ValueError(f"expected {name} > 0; got {value}")


def check_common(settings: Any) -> None:
    """Raise unless the fields that every run has are as it needs them."""
    check_positive(settings, ("learning_rate", "clip"))
    if not isinstance(settings.compile, bool | str):
        raise TypeError(f"expected compile as True, False or a backend's name; got {settings.compile!r}")
    check_seed(settings.seed)


def check_seed(seed: int | None) -> None:
    """Raise unless it is None or an integer that generators can be seeded by."""
    if seed is not None and not isinstance(seed, int):
        raise TypeError(f"expected seed as an integer; got {seed!r}")
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"expected a seed in [0, 2³²); got {seed}")
