"""Fitting a flow to a data frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..families import nsf
from ..training import fit as fit_flow
from ..transform import FlowTransform
from .schema import Schema
from .table_flow import Family, TableFlow

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_by_column", "fit"]


def column_by_column(dim: int) -> FlowTransform:
    """Return an autoregressive neural spline flow: a spline of each column, given the columns before it."""
    return nsf(dim, depth=3, autoregressive=True)


def fit(
    frame: pd.DataFrame,
    *,
    family: Family = column_by_column,
    kinds: Mapping[str, str] | None = None,
    validation: float = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    on_schema: Callable[[Schema], Any] | None = None,
    **settings: Any,
) -> TableFlow:
    """Fit a flow to a table as it comes: numbers, whole numbers, categories, dates, missing cells.

    Each column is first given a distribution of its own (see `Schema`), then the flow learns how the columns
    hang together, by maximum likelihood. A tenth of the rows is held out, from the columns' distributions
    too; only which values can occur is known of them.

    Args:
        frame: the table.
        family: gives a transform of vectors when called with their length: `pyro_flows.maf`, say; by default
            an autoregressive neural spline flow.
        kinds: kinds of columns that are not to be inferred, such as {"zip": "categorical"}: see `Kind`.
        validation: the fraction of rows held out.
        checkpoint: as for `pyro_flows.fit`.
        on_schema: called with the schema before training: `print`, say.
        **settings: fields of `pyro_flows.training.Settings`: epochs, batch_size, learning_rate, seed, ….

    Returns:
        A `TableFlow`.

    Raises:
        NonFiniteLoss: as `pyro_flows.fit`.
        TypeError, ValueError: if a column cannot be modelled, none varies, or an argument is out of range.

    Example:
        >>> import pandas as pd, torch, pyro_flows as pf
        >>> weight = torch.randn(200).mul(5).add(70).numpy()
        >>> frame = pd.DataFrame({"weight": weight, "heavy": ["yes" if w > 70 else "no" for w in weight]})
        >>> table = pf.tables.fit(frame, epochs=2, progress=False)
        >>> table.log_prob(frame).shape, table.sample(5).columns.tolist()
        (torch.Size([200]), ['weight', 'heavy'])
    """
    if not 0 <= validation < 1:
        raise ValueError(f"expected a validation fraction in [0, 1); got {validation}")
    count = round(validation * len(frame))
    if validation and not 0 < count < len(frame):
        raise ValueError(f"expected enough rows to hold out {validation:.3g} of them; got {len(frame)}")
    generator = torch.Generator().manual_seed(settings.get("seed", 0))
    order = torch.randperm(len(frame), generator=generator)
    train, held_out = order[count:], order[:count]
    weights = np.zeros(len(frame))
    weights[train.numpy()] = 1
    schema = Schema.of(frame, kinds, weights=weights)
    model = TableFlow(schema, family)
    if on_schema is not None:
        on_schema(schema)
    rows = schema.encode(frame)
    held: Any = rows[held_out] if count else 0
    model.history = fit_flow(model.flow, rows[train], validation=held, checkpoint=checkpoint, **settings)
    return model
