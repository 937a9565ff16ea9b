"""The ways in which a model can run at many draws."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LOOP", "PLATE", "VMAP", "How"]

PLATE, VMAP, LOOP = "plate", "vmap", "loop"


class How(NamedTuple):
    """How a model runs at many draws."""

    way: str
    """"plate", "vmap" or "loop"."""
    reason: str
    """Why, in words."""

    def __str__(self) -> str:
        return f"{_WORDS[self.way]}, since {self.reason}"


_WORDS = {
    PLATE: "all draws run together under a plate",
    VMAP: "all draws run together by torch.func.vmap",
    LOOP: "every draw runs alone, which is slow",
}
