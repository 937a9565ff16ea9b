"""BibTeX of what a flow is made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.distributions import Transform

from ..transforms import Chain, save_memory
from .entries import entry_of

__all__ = ["citation", "sources"]

PYRO = "arXiv:1810.09538"


def citation(flow: nn.Module | Transform) -> str:
    """Return BibTeX entries of the papers that a flow's parts come from, and of Pyro.

    A part names its sources in its docstring: layers, elementwise maps, partitions, networks, matrices and
    solvers. A layer of your own does so too, by "arXiv:…" or "doi:…". What needs no source, such as a
    permutation, has none. How a flow was trained is not seen.

    Args:
        flow: a `Flow`, a transform, or any module with such parts.

    Raises:
        TypeError: if `flow` is something else.

    Example:
        >>> import pyro_flows as pf
        >>> text = pf.citation(pf.Flow(pf.real_nvp(2)))
        >>> [line.strip(",") for line in text.splitlines() if line.startswith("@")][1:3]
        ['@inproceedings{dinh2015nice', '@inproceedings{dinh2017realnvp']
    """
    if not isinstance(flow, nn.Module | Transform):
        raise TypeError(f"expected a flow, a transform or a module; got {type(flow).__name__}")
    found = dict.fromkeys([PYRO])  # keeps its order
    for part in _parts(flow, set()):
        found |= dict.fromkeys(sources(type(part)))
        if isinstance(part, Chain) and part.memory != "plain":
            found |= dict.fromkeys(sources(save_memory))
    return "\n\n".join(map(entry_of, found))


def sources(part: Any) -> list[str]:
    """Return the papers that the docstring of a class or function names, as "arXiv:…" or "doi:…"."""
    return re.findall(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\S*\w", inspect.getdoc(part) or "")


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield this library's objects inside `value`, each before those that it holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, list | tuple):
        inside = list(value)
    elif isinstance(value, nn.Module | Transform) or type(value).__module__.startswith("pyro_flows."):
        yield value
        inside = list(getattr(value, "__dict__", {}).values())
    else:
        return
    for part in inside:
        yield from _parts(part, seen)
