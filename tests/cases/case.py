"""A case of the tests: `pyro_flows.testing.Case`, and what takes long for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pyro_flows import testing

__all__ = ["Case"]


@dataclass(frozen=True)
class Case(testing.Case):
    """A case, and the laws that take long for it.

    slow: their names; another case of its kind stands for it in the fast set.
    """

    slow: Collection[str] = ()
