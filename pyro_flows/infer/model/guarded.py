"""Running a model at many draws, of which it may raise at some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...loop.warning import warn_caller
from .batches import Values, count_of, filled
from .cholesky import each_matrix, is_no_factor
from .failures import halved
from .given import ModelFailure, ValueDoesNotFit

__all__ = ["Guarded"]

Body = Callable[..., Any]


class Guarded:
    """Scores draws together; those at which the model raises have the density zero, and are counted.

    Draws whose matrices have no Cholesky factor are told apart within one run, others by halving the batch.

    Args:
        apply: runs a body at draws.

    Attributes:
        failed: the number of draws so far at which the model raised.
        failure: the first such failure.
    """

    def __init__(self, apply: Callable[[Body, Values], Any]) -> None:
        self.apply = apply
        self.failed = 0
        self.failure: ModelFailure | None = None
        self._without_factor: Exception | None = None  # the first, if a matrix has had no Cholesky factor

    def __call__(self, body: Body, values: Values, *, nesting: int, by_matrix: bool) -> Any:
        """Return the scores of a body, −∞ and NaN where the model raises.

        Args:
            body: what scores draws.
            values: the draws.
            nesting: the dimensions of the model's batches; draws lie on their left.
            by_matrix: whether draws run together, so that matrices can be told apart.

        Raises:
            ValueError: if the model raises at more than half of the draws.
        """
        try:
            scores, failed = self._together(body, values, nesting, by_matrix and count_of(values) > 1)
        except ValueDoesNotFit:  # at every draw alike, or a model that no density can be made of
            raise
        except Exception as error:
            parts, failures = halved(lambda some: self.apply(body, some), values, error)
        else:
            if self._without_factor is not None and failed is not None:
                self._tell(self._without_factor, int(failed.sum()), count_of(values))
            return scores
        if failures:
            self._tell(failures[0], len(failures), count_of(values))
        return filled(parts)

    def _together(
        self, body: Body, values: Values, nesting: int, by_matrix: bool
    ) -> tuple[Any, Tensor | None]:
        """Return scores, and at which draws a matrix had no Cholesky factor, if one ever had none."""
        if self._without_factor is None:
            try:
                return self.apply(body, values), None
            except Exception as error:
                if not by_matrix or not is_no_factor(error):
                    raise
                self._without_factor = error
        if not by_matrix:
            return self.apply(body, values), None
        scores, failed = self.apply(each_matrix(body, nesting), values)
        return scores, failed

    def _tell(self, first: Exception, failed: int, count: int) -> None:
        if not failed:
            return
        if 2 * failed > count:
            cause = first.error if isinstance(first, ModelFailure) else first
            raise ValueError(
                f"the model raised at {failed} of {count} draws or more, first {first}"
            ) from cause
        if self.failed == 0:
            warn_caller(
                f"the model raised at {failed} of {count} draws, which count as density zero; first {first}"
            )
        self.failed += failed
        if self.failure is None and isinstance(first, ModelFailure):
            self.failure = first
