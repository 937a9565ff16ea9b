"""A flow of a data frame's rows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..flow import Flow
from ..loop import checkpoint
from ..loop.settings import whole_number
from ..loop.warning import warn_caller
from ..training import History
from ..transform import FlowTransform
from .cells import Cells
from .copula import gaussian_copula
from .schema import Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Family", "TableFlow"]

Family = Callable[..., FlowTransform]
ROWS = 2**14  # evaluated at once
VERSION = 1  # of the file's format


class TableFlow:
    """A distribution of rows of a data frame: a schema, and a flow of its rows' normal scores.

    `pyro_flows.tables.fit` makes one. `flow` is an ordinary `Flow`, noise → Gaussian copula → family → cells,
    over the rows that `schema.encode` gives.

    Args:
        schema: what the columns are.
        family: gives a transform of vectors when called with their length, and with a keyword context_dim if
            there is a context, as `pyro_flows.nsf` does.
        context: what the columns are that rows are given, if any.
        copula: whether there is a Gaussian copula; files from before there was one have none.
        history: what `fit` saw.
    """

    def __init__(
        self,
        schema: Schema,
        family: Family,
        *,
        context: Schema | None = None,
        copula: bool = True,
        history: History | None = None,
    ) -> None:
        if not schema.dim:
            raise ValueError("expected a column that varies; got constant columns only")
        self.schema, self.context = schema, context
        size = {} if context is None else {"context_dim": context.feature_count}
        self.copula = gaussian_copula(schema.dim) if copula else None
        first = [] if self.copula is None else [self.copula]
        self.flow = Flow([*first, family(schema.dim, **size), Cells(schema.dim)])
        self.history = history or History()

    @property
    def names(self) -> list[str]:
        """The names of all columns, the context's before the table's."""
        return [*(self.context.names if self.context else []), *self.schema.names]

    @property
    def texts(self) -> list[str]:
        """The names of the columns whose cells are texts, even if some look like numbers."""
        columns = [*(self.context.columns if self.context else []), *self.schema.columns]
        return [c.name for c in columns if any(isinstance(value, str) for value in c.values)]

    def log_prob(self, frame: pd.DataFrame, *, num_samples: int = 16, seed: int = 0) -> Tensor:
        r"""Return each row's log-probability (of its listed and whole values) times density (of the others).

        In nats and in the table's own units. A lower bound in expectation if cells are no real numbers,

            log 1/K Σ_k p_flow(z_k) Π_j f_j(y_j) / φ(z_kj),   z_k within the row's cells,

        which tightens as K grows (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519). A row with a cell
        that cannot occur has −∞, and a warning tells in which columns.

        Args:
            frame: rows with the schema's columns, and the context's, in any order; others are ignored.
            num_samples: K.
            seed: of the draws: equal rows at equal places have equal scores.

        Returns:
            A tensor of shape (rows,), in double precision.

        Raises:
            TypeError, ValueError: if a column is missing, or holds texts instead of numbers.
        """
        num_samples = whole_number("num_samples", num_samples, least=1)
        rows = self.schema.encode(frame)
        possible = rows[:, 2].isfinite().all(-1)
        if not bool(possible.all()):
            found = self.schema.impossible(frame)
            told = ", ".join(f"{name} ({count})" for name, count in found.items())
            warn_caller(
                f"{int((~possible).sum())} rows hold cells that the table cannot hold, and have a "
                f"log-probability of −∞; by column: {told}"
            )
        scores = rows.new_full((len(rows),), -math.inf)
        given = None if self.context is None else self.context.features(frame)[possible]
        scores[possible] = self.score(rows[possible], given, num_samples=num_samples, seed=seed)
        return scores

    def score(
        self, rows: Tensor, context: Tensor | None = None, *, num_samples: int = 16, seed: int = 0
    ) -> Tensor:
        """Return the same of rows that `schema.encode` gave, all of which can occur."""
        like = next(self.flow.parameters())
        parts = []
        with torch.no_grad(), torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
            torch.manual_seed(seed)
            for index in torch.arange(len(rows)).split(max(1, ROWS // num_samples)):
                chunk = rows[index].to(like)
                flow = self.flow(None if context is None else context[index].to(like))
                draws = flow.log_prob(chunk.expand(num_samples, *chunk.shape)).double()
                parts.append(draws.logsumexp(0) - math.log(num_samples))
        return torch.cat(parts).to(rows.device) if parts else rows.new_empty(0)

    def sample(self, count: int | None = None, *, given: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return new rows, with the columns, types and categories of the table.

        Args:
            count: how many.
            given: the context instead, for one new row each, which has the context's columns before its own.

        Raises:
            TypeError, ValueError: unless exactly the one is given that the table needs, and `count` is an
                integer ≥ 0.
        """
        if (count is None) != (self.context is not None) or (given is None) != (self.context is None):
            needed = (
                "a count" if self.context is None else f"rows of {', '.join(self.context.names)} as given"
            )
            raise ValueError(f"expected {needed}; got count={count}, given={type(given).__name__}")
        import pandas as pd

        if count is not None:
            count = whole_number("count", count, least=0)
        like = next(self.flow.parameters())
        with torch.no_grad():
            if given is None or self.context is None:
                return self.schema.decode(self.flow().sample((count,)).cpu())
            drawn = self.schema.decode(self.flow(self.context.features(given).to(like)).sample().cpu())
        # Side by side, not joined by the index: that may have copies.
        return pd.concat([self.context.select(given), drawn.set_axis(given.index)], axis=1)

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors, for `torch.load(weights_only=True)`."""
        return {
            "schema": self.schema.state(),
            "context": None if self.context is None else self.context.state(),
            "copula": self.copula is not None,
            "flow": self.flow.state_dict(),
            "history": vars(self.history),
        }

    @classmethod
    def of_state(cls, state: dict[str, Any], family: Family) -> TableFlow:
        """Return the flow that `state` is of, in evaluation mode; `family` is the one that it had."""
        schema, given = Schema.of_state(state["schema"]), state["context"]
        context = None if given is None else Schema.of_state(given)
        history, copula = History(**state["history"]), state.get("copula", False)
        model = cls(schema, family, context=context, copula=copula, history=history)
        model.flow.load_state_dict(state["flow"])
        model.flow.eval()
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        checkpoint.save(self.state(), path, kind="table flow", version=VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str], family: Family) -> TableFlow:
        """Read what `save` wrote; `family` is the one that the flow had.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is cut short, or is something else, or the family's parameters are others.
        """
        state = checkpoint.load(path, kind="table flow", version=VERSION)
        try:
            return cls.of_state(state, family)
        except RuntimeError as error:
            raise ValueError(
                "expected the family, with the arguments, that the table was fitted with; got one of other "
                "parameters"
            ) from error
