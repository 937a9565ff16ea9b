"""All that `fit` is told about data, made rows to train on and rows to validate with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..._arrays import columns_of
from ...flow import Flow
from .contexts import ContextReader
from .reading import kind_of, source_of, split
from .singular import warn_of_no_density
from .sources import Source, mean_one, rows_at_once, that_count
from .support import check_support
from .units import place_units, without_absurd_rows

__all__ = ["Data"]


@dataclass
class Data:
    """Data, context, weights and validation data as `pyro_flows.fit` takes them."""

    data: Any
    context: Any = None
    weights: Any = None
    validation: Any = 0.1
    units: bool | str = field(default=True, kw_only=True)
    labels: bool = field(default=False, kw_only=True)

    def read(self, flow: Flow, *, seed: int, any_context: bool, warn: bool) -> tuple[Source, Source | None]:
        """Return training and validation rows, and give the flow its units and the names of columns.

        Args:
            flow: what is fitted.
            seed: of the split.
            any_context: whether a loss of the user's own says what contexts may be.
            warn: whether to warn of data that have no density or of rows that are left out.

        Raises:
            TypeError, ValueError: if something is not as it should be.
        """
        contexts = ContextReader.of(flow, labels=self.labels, any_shape=any_context)
        exact = tuple(
            place is not None and (self.units is not False or place.active)
            for place in (flow.units, flow.context_units)
        )
        columns = (
            flow.columns or columns_of(self.data),
            flow.context_columns or (None if self.labels else columns_of(self.context)),
        )
        reading: dict[str, Any] = {
            "like": flow,
            "read_context": contexts,
            "exact": exact,
            "columns": columns,
        }
        source = source_of(self.data, self.context, weights=self.weights, finite=True, **reading)
        train, val = split(that_count(source), self.validation, seed=seed, **reading)
        if not any_context:
            check_support(flow, train, name="data")
            if val is not None:
                check_support(flow, val, name="validation data")
        known = place_units(flow, train, self.units, any_shape=any_context)
        if self.units is not False:
            train = without_absurd_rows(flow, train, name="data", known=known, warn=warn)
            if val is not None:
                val = without_absurd_rows(flow, val, name="validation data", known=known, warn=warn)
        if warn and flow.given_transform.bijective:  # others make densities of what has none
            warn_of_no_density(train, rows_at_once=rows_at_once(flow.given_transform))
        flow.columns, flow.context_columns = columns
        like = kind_of(flow)
        return mean_one(train, like), None if val is None else mean_one(val, like)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one before."""
        return {"units": self.units, "labels": self.labels, "weights": self.weights is not None}
