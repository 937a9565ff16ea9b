"""Finding the draws at which a model raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .batches import Values, count_of
from .given import ValueDoesNotFit

__all__ = ["halved"]


def halved(
    run: Callable[[Values], Any], values: Values, error: Exception
) -> tuple[list[Any], list[Exception]]:
    """Run a batch that raised half by half, and halves that raise again so; stop if most draws raise.

    Args:
        run: what raised.
        values: the batch.
        error: what it raised.

    Returns:
        The scores of parts, in order, a number standing for so many draws at which the model raises, and what
        it raised there.
    """
    most = count_of(values) // 2
    failures: list[Exception] = []

    def parts(batch: Values, error: Exception) -> list[Any]:
        """Return the scores of a batch that raised `error`, half by half."""
        count = count_of(batch)
        if count == 1:
            failures.append(error)
            return [1]
        found: list[Any] = []
        for half in (slice(0, count // 2), slice(count // 2, count)):
            if len(failures) > most:
                break
            some = {name: value[half] for name, value in batch.items()}
            try:
                found.append(run(some))
            except ValueDoesNotFit:
                raise
            except Exception as raised:
                found += parts(some, raised)
        return found

    return parts(values, error), failures
