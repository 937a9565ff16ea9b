"""Fitting a flow to a data frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..elementwise import RationalQuadratic
from ..families import nsf
from ..loop.generators import restored_generators
from ..loop.settings import with_keywords
from ..training import Settings
from ..training import fit as fit_flow
from ..transform import FlowTransform
from .copula import start_at_correlations
from .frame import Label, check_frame, name_of, named_kinds, names_of
from .schema import Schema
from .singular import warn_of_no_density
from .table_flow import Family, TableFlow

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_by_column", "fit"]


def column_by_column(
    input_dim: int,
    *,
    depth: int = 1,
    hidden: Sequence[int] = (128, 128),
    context_dim: int = 0,
    bins: int = 16,
) -> FlowTransform:
    """Return an autoregressive neural spline flow: each column's score, given those of the columns before.

    Chosen on tables of ``benchmarks/mixed_tables.py``, where one layer of many bins did better, in half the
    time, than three of few bins or than couplings.

    Args:
        input_dim: how many columns vary; one will do.
        depth: number of layers; every other one runs through the columns in reverse.
        hidden: widths of each net's hidden layers.
        context_dim: length of the context vector, 0 for none.
        bins: of each spline, which act on scores within [−4, 4].
    """
    spline = RationalQuadratic(bins, 4.0)
    return nsf(
        input_dim,
        depth=depth,
        hidden=hidden,
        context_dim=context_dim,
        elementwise=spline,
        autoregressive=True,
    )


def fit(
    frame: pd.DataFrame,
    *,
    family: Family = column_by_column,
    kinds: Mapping[Label, str] | None = None,
    context: Label | Sequence[Label] = (),
    weights: Any = None,
    validation: float = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    on_schema: Callable[[Schema], Any] | None = None,
    settings: Settings | None = None,
    **keywords: Any,
) -> TableFlow:
    """Fit a flow to a table as it comes: numbers, whole numbers, categories, dates, missing cells.

    Each column is first given a distribution of its own (see `Schema`). Then the flow learns how the columns
    hang together, by maximum likelihood, from a start at the Gaussian copula with the columns' correlations.
    A tenth of the rows is held out, from the columns' distributions too; only which values can occur is known
    of them.

    Args:
        frame: the table.
        family: gives a transform of vectors when called with their length: `pyro_flows.maf`, say; by default
            `column_by_column`.
        kinds: kinds of columns that are not to be inferred, such as {"zip": "categorical"}: see `Kind`.
        context: the column or columns that rows are given: the flow is one of the others, p(row | context).
        weights: a number ≥ 0 for each row, which says how often it counts.
        validation: the fraction of rows held out.
        checkpoint: as for `pyro_flows.fit`.
        on_schema: called with the schema, and the context's, before training: `print`, say.
        settings: how to train; its seed is the start's too, so that equal calls give equal flows.
        **keywords: fields of `pyro_flows.training.Settings`, in place of those in `settings`: epochs,
            batch_size, learning_rate, seed, ….

    Returns:
        A `TableFlow`.

    Raises:
        NonFiniteLoss: as `pyro_flows.fit`.
        TypeError, ValueError: if it is no data frame, a column cannot be modelled, none varies, or an
            argument is out of range.

    Example:
        >>> import pandas as pd, torch, pyro_flows as pf
        >>> weight = torch.randn(200).mul(5).add(70).numpy()
        >>> frame = pd.DataFrame({"weight": weight, "heavy": ["yes" if w > 70 else "no" for w in weight]})
        >>> table = pf.tables.fit(frame, epochs=2, progress=False)
        >>> table.log_prob(frame).shape, table.sample(5).columns.tolist()
        (torch.Size([200]), ['weight', 'heavy'])
    """
    import pandas as pd

    check_frame(frame)
    settings = with_keywords(Settings, settings, keywords)
    if not isinstance(validation, Real):
        raise TypeError(f"expected validation as a fraction of the rows; got {type(validation).__name__}")
    if not 0 <= validation < 1:
        raise ValueError(f"expected a validation fraction in [0, 1); got {validation}")
    count = round(validation * len(frame))
    if validation and not 0 < count < len(frame):
        raise ValueError(f"expected enough rows to hold out {validation:.3g} of them; got {len(frame)}")
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(settings.seed))
    train, held_out = order[count:], order[:count]
    counted = np.ones(len(frame)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counted.shape != (len(frame),):
        raise ValueError(f"expected a weight for each of {len(frame)} rows; got shape {counted.shape}")
    for part, rows in (("to train on", train), ("held out", held_out)):
        if len(rows) and counted.any() and not counted[rows.numpy()].any():
            raise ValueError(
                f"expected a weight above 0 in some of the {len(rows)} rows {part}; got none: leave out rows "
                "of weight 0, or give another seed or validation"
            )
    told = counted.copy()
    told[held_out.numpy()] = 0
    names = names_of(frame)
    context = [name_of(label) for label in ([context] if pd.api.types.is_scalar(context) else context)]
    absent = [name for name in context if name not in names]
    if absent:
        raise ValueError(
            f"expected context among the columns {', '.join(names[:20])}; got {', '.join(absent)}"
        )
    chosen = np.isin(names, context)
    all_kinds = named_kinds(kinds)
    kinds_of = [{n: kind for n, kind in all_kinds.items() if (n in context) == c} for c in (False, True)]
    schema = Schema.of(frame.loc[:, ~chosen], kinds_of[0], weights=told)
    given = Schema.of(frame.loc[:, chosen], kinds_of[1], weights=told) if context else None
    with restored_generators(torch.get_default_device()):
        torch.manual_seed(settings.seed)
        model = TableFlow(schema, family, context=given)
    for columns in (schema, given):
        if on_schema is not None and columns is not None:
            on_schema(columns)
    warn_of_no_density(schema, frame, given)
    cells = schema.encode(frame)
    conditions = None if given is None else given.features(frame)

    def chosen_rows(index: Tensor) -> Any:
        loads = None if weights is None else counted[index.numpy()]
        return cells[index], None if conditions is None else conditions[index], loads

    data, condition, load = chosen_rows(train)
    if model.copula is not None:
        start_at_correlations(model.copula, data, condition, None if load is None else torch.from_numpy(load))
    model.history = fit_flow(
        model.flow,
        data,
        context=condition,
        weights=load,
        units=False,  # scores are standard normal
        validation=chosen_rows(held_out) if count else 0,
        checkpoint=checkpoint,
        settings=settings,
    )
    return model
