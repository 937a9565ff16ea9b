"""Names of the elements of an array."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

__all__ = ["labels"]


def labels(name: str, shape: Iterable[int]) -> list[str]:
    """Return "x[0, 0]", "x[0, 1]", … in the order of `flatten`; "x" alone for a scalar."""
    places = itertools.product(*(range(n) for n in shape))
    return [f"{name}[{', '.join(map(str, place))}]" if place else name for place in places]
