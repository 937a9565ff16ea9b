"""Whether other arguments of the model leave its latent sites as a guide knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any

import torch
from pyro import poutine

from ..model.density import unvalidated
from ..model.latents import Latents

__all__ = ["KnownArguments"]


class KnownArguments:
    """Remembers which shapes of the model's arguments it has checked: the model is run for new ones only."""

    def __init__(self) -> None:
        self._checked: set[Any] = set()

    def add(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take these arguments for good ones."""
        self._checked.add(_shapes(args, kwargs))

    def check(
        self, model: Callable[..., Any], latents: Latents, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Run the model if the arguments have new shapes.

        Args:
            model: the model with its initial values.
            latents: the latent sites that the guide knows.
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.

        Raises:
            ValueError: if a latent site is missing, new or of another shape.
        """
        if _shapes(args, kwargs) in self._checked:
            return
        with torch.no_grad(), poutine.block(), unvalidated():
            found = Latents(poutine.trace(model).get_trace(*args, **kwargs))
        before, now = ({site.name: tuple(site.shape) for site in known.sites} for known in (latents, found))
        if before != now:
            names = [name for name in before | now if before.get(name) != now.get(name)]
            raise ValueError(
                "expected arguments that leave the latent sites as they were when the guide was set up, "
                f"{_told(before, names)}; got {_told(now, names)}: make another guide for these data"
            )
        self.add(args, kwargs)


def _told(shapes: dict[str, tuple[int, ...]], names: list[str]) -> str:
    return ", ".join(
        f"{name!r} of shape {shapes[name]}" if name in shapes else f"no {name!r}" for name in names
    )


def _shapes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    def shape(value: Any) -> Any:
        if isinstance(value, int | str | None):
            return value
        if (found := getattr(value, "shape", None)) is not None:
            return tuple(found)
        return len(value) if isinstance(value, Sized) else type(value).__name__

    return (*map(shape, args), *((name, shape(value)) for name, value in sorted(kwargs.items())))
