"""One result of importance sampling, or several of independent fits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Size

from ..infer import Importance

__all__ = ["as_list", "enough"]

_FEWEST = 100


def as_list(result: Importance | Sequence[Importance]) -> list[Importance]:
    """Return the results of one or several fits of a model.

    Raises:
        TypeError: if something else was given.
        ValueError: if there is none, or they are of different models.
    """
    results: list[Importance] = list(result) if isinstance(result, list | tuple) else [result]  # type: ignore[list-item]
    if not results:
        raise ValueError("expected a result of pyro_flows.infer.importance, or several; got none")
    for one in results:
        if not isinstance(one, Importance):
            raise TypeError(
                "expected a result of pyro_flows.infer.importance(model, guide, ...), or a list of them; "
                f"got {type(one).__name__}"
            )
        sites, first = ({name: x.shape[1:] for name, x in r.draws.items()} for r in (one, results[0]))
        if sites != first:
            raise ValueError(f"expected fits of one model; got {_told(first)} and {_told(sites)}")
    return results


def enough(result: Importance) -> None:
    """Raise a ValueError for too few draws to judge by: a single one's weight is constant, as if good."""
    if (n := len(result.log_weights)) < _FEWEST:
        raise ValueError(f"expected ≥ {_FEWEST} draws to judge by; got {n}")


def _told(sites: dict[str, Size]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in sites.items())
