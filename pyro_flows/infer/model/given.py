"""Running a model with given values of its latent sites, and saying where it is if it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

__all__ = ["Given", "ModelFailure", "ValueDoesNotFit", "naming_the_place", "trace_at"]


class ModelFailure(Exception):
    """The model raised `error`; `place` says where."""

    def __init__(self, error: Exception, place: str) -> None:
        words = str(error).strip().split("\n")[0]
        super().__init__(f"{type(error).__name__} {place}: {words}")
        self.error, self.place = error, place


class Given(Messenger):
    """Gives latent sites their values, and remembers where the model is."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.entered: str | None = None
        self.left: str | None = None

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if type(msg["fn"]).__name__ != "_Subsample":  # plates are no place to look for a fault
            self.entered = name
        if not msg["is_observed"] and name in self.values:
            msg["value"] = self.values[name]
            msg["done"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        self.left = self.entered

    @property
    def place(self) -> str:
        """Where the model is, in words."""
        if self.entered is None:
            return "before its first site"
        return f"{'after' if self.left == self.entered else 'at'} the site {self.entered!r}"


class ValueDoesNotFit(ValueError):
    """The values are not those of the model's latent sites: a shape differs, or which sites there are."""


class _Fitting(Given):
    """Refuses values of a shape that the site does not have."""

    def _pyro_sample(self, msg: Any) -> None:
        super()._pyro_sample(msg)
        if msg["done"] and msg["name"] in self.values:
            wanted, got = msg["fn"].shape(), msg["value"].shape
            fits = len(got) <= len(wanted) and all(
                a in (1, b) for a, b in zip(reversed(got), reversed(wanted), strict=False)
            )
            if not fits:
                raise ValueDoesNotFit(
                    f"expected a model in which {msg['name']!r} has shape {tuple(got)}, as the guide has it; "
                    f"got {tuple(wanted)}: other data must not change the shapes of latent sites"
                )


def trace_at(model: Callable[..., Any], values: Mapping[str, Tensor], args: Any, kwargs: Any) -> Trace:
    """Return a trace of the model with the given values of its latent sites, Pyro's argument checks off.

    Raises:
        ModelFailure: if the model raises.
        ValueDoesNotFit: if a latent site has another shape than its value.
    """
    given = _Fitting(values)
    with pyro.validation_enabled(False), poutine.block(), naming_the_place(given), given:
        return poutine.trace(model).get_trace(*args, **kwargs)


@contextmanager
def naming_the_place(given: Given) -> Iterator[None]:
    """Say where in the model an exception was raised."""
    try:
        yield
    except ValueDoesNotFit:
        raise
    except Exception as error:
        raise ModelFailure(error, given.place) from error
