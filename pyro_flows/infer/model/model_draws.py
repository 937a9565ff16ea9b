"""Draws of a model's latent variables, and what the model says of them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from .evaluation import Evaluation
from .given import trace_at
from .runs import ModelRuns

__all__ = ["ModelDraws"]


class ModelDraws(ABC):
    """What `Importance` and `Chains` share: draws, and the model's own words on them."""

    evaluation: Evaluation
    model: Callable[..., Any] | None
    guide: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @cached_property
    def predicted(self) -> dict[str, Tensor]:
        """Draws of the observed sites given each of the draws, of shape (draws, …); none without a sampler.

        Raises:
            ValueError: if the result holds no model.
        """
        return self._runs.predictions(self.evaluation.values | self.discrete)

    @cached_property
    def discrete(self) -> dict[str, Tensor]:
        """Draws, given each of the draws, of the discrete sites that were summed out, of shape (draws, …).

        Raises:
            ValueError: if the result holds no model.
        """
        return self._runs.discrete(self.evaluation.values) if self._runs.joint.layout.enumerated else {}

    @cached_property
    def trace(self) -> Trace | None:
        """The model's trace at the first draw that it doesn't raise at; None if the result holds no model."""
        if (runs := self.evaluation.runs) is None:
            return None
        first = int(self.evaluation.raised.int().argmin())
        values = {name: value[first] for name, value in self.evaluation.values.items()}
        return trace_at(runs.model, values, runs.args, runs.kwargs)

    @property
    def _runs(self) -> ModelRuns:
        if self.evaluation.runs is None:
            raise ValueError("expected a result of pyro_flows.infer.importance; got one that holds no model")
        return self.evaluation.runs

    @property
    def draws(self) -> dict[str, Tensor]:
        """Draws of every latent variable and deterministic site, of shape (draws, …)."""
        return self.evaluation.values | self.evaluation.deterministic
