"""Cholesky factors of many draws' matrices together, if some of these matrices have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .given import ModelFailure
from .joint import DETERMINISTIC

__all__ = ["each_matrix", "is_no_factor"]


def is_no_factor(error: Exception) -> bool:
    """Whether a model raised because a matrix has no Cholesky factor."""
    cause = error.error if isinstance(error, ModelFailure) else error
    return isinstance(cause, torch.linalg.LinAlgError) and "cholesky" in str(cause)


class _EachMatrix(TorchFunctionMode):
    """Factorises the identity in place of matrices that have no factor, and remembers which these were."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.linalg.cholesky and args:
            matrix, *rest = args
            failed = torch.linalg.cholesky_ex(matrix.detach())[1] != 0
            self.failed.append(failed)
            identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
            args = (torch.where(failed[..., None, None], identity, matrix), *rest)
        return func(*args, **kwargs or {})


def each_matrix(body: Callable[..., Any], nesting: int) -> Callable[..., Any]:
    """Return a function like `body` that says at which draws a matrix has no Cholesky factor.

    torch raises for the whole batch if one of its matrices has none.

    Args:
        body: scores of draws: one that takes their values, or those of many and their number.
        nesting: the dimensions of the model's batches; draws lie on their left.

    Returns:
        A function that returns the scores, −∞ at these draws, and where these draws are.
    """

    def run(values: Any, draws: int | None = None) -> tuple[Any, Tensor]:
        """Return the scores, −∞ or NaN at draws without a factor, and where these draws are."""
        with _EachMatrix() as found:
            scores = body(values) if draws is None else body(values, draws)
        failed = torch.zeros(() if draws is None else (draws,), dtype=torch.bool)
        for part in found.failed:
            of_draws = draws is not None and part.dim() > nesting
            failed = failed.to(part.device) | (
                part.reshape(len(part), -1).any(-1) if of_draws else part.any()
            )
        if isinstance(scores, Tensor):
            return torch.where(failed, -torch.inf, scores), failed
        return {
            key: torch.where(
                failed.reshape(failed.shape + (1,) * (score.dim() - failed.dim())),
                torch.nan if key[0] == DETERMINISTIC else -torch.inf,
                score,
            )
            for key, score in scores.items()
        }, failed

    return run
