"""A table's samples beside its data, column by column, and how columns hang together."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ._figures import DATA, MODEL, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare_tables"]

MISSING = "missing"


def compare_tables(
    data: pd.DataFrame, samples: pd.DataFrame, *, max_columns: int = 15, max_values: int = 12
) -> Figure:
    """Draw each column of two data frames, and the rank correlations of their columns.

    Columns of a few values are drawn as bars, a missing cell being a value; others as histograms of the
    central 98 % of the data. Correlations are Spearman's; texts count by the alphabet.

    Args:
        data: the real rows.
        samples: rows of the same columns.
        max_columns: only so many columns are drawn.
        max_values: only so many values of a column have bars, the most frequent ones.

    Returns:
        A figure of one pair of axes a column, and three of the correlations: real, sampled, and one against
        the other.

    Raises:
        ImportError: without matplotlib.
        ValueError: if the columns differ.

    Example:
        >>> import pandas as pd, pyro_flows as pf
        >>> frame = pd.DataFrame({"x": [1.5, 2.5, 3.5, 4.5], "c": ["a", "b", "a", "b"]})
        >>> len(pf.plotting.compare_tables(frame, frame).axes)
        5
    """
    if list(data.columns) != list(samples.columns):
        raise ValueError(f"expected equal columns; got {list(data.columns)} and {list(samples.columns)}")
    names = list(data.columns)[:max_columns]
    across = 5 if len(names) > 6 else 3
    down = math.ceil(len(names) / across)
    figure = new_figure(2.3 * across, 1.7 * down + 2.7)
    columns, correlations = figure.subfigures(2, 1, height_ratios=[1.7 * down, 2.7], squeeze=False)[:, 0]
    axes = columns.subplots(down, across, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        _column(ax, data[name], samples[name], max_values)
        ax.set_title(str(name), fontsize=8)
        ax.tick_params(labelsize=6)
        ax.set_yticks([])
        ax.spines[["top", "right", "left"]].set_visible(False)
    for ax in axes[len(names) :]:
        ax.remove()
    columns.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    codes = [_codes(data[name], samples[name]) for name in names]
    real, drawn = (_correlations([pair[i] for pair in codes]) for i in (0, 1))
    left, middle, right = correlations.subplots(1, 3)
    for ax, matrix, title in ((left, real, "rank correlations: data"), (middle, drawn, "samples")):
        ax.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
        ax.set_title(title, fontsize=8)
        ax.set_xticks([])
        ax.set_yticks(range(len(names)), names if ax is left else [], fontsize=6)
    pairs = np.triu_indices(len(names), 1)
    right.axline((0, 0), slope=1, color="0.7", lw=0.8)
    right.scatter(real[pairs], drawn[pairs], s=9, color=MODEL)
    right.set_xlabel("data", fontsize=7)
    right.set_ylabel("samples", fontsize=7)
    right.tick_params(labelsize=6)
    right.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    return figure


def _column(ax: Axes, data: pd.Series, samples: pd.Series, max_values: int) -> None:
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(data.dtype) and not pd.api.types.is_bool_dtype(data.dtype)
    dates = pd.api.types.is_datetime64_any_dtype(data.dtype)
    if (numeric or dates) and data.nunique() > max_values:
        both = [pd.to_numeric(column.dropna()).to_numpy(dtype=float) for column in (data, samples)]
        low, high = np.quantile(both[0], [0.01, 0.99])
        common: dict[str, Any] = {"bins": 30, "range": (low, high + 1e-9 * abs(high)), "density": True}
        ax.hist(both[0], **common, color=DATA, alpha=0.45, label="data")
        ax.hist(both[1], **common, histtype="step", color=MODEL, lw=1.3, label="samples")
        if dates:
            ax.set_xticks(
                [low, high], [str(pd.Timestamp(int(t), unit=data.dt.unit).date()) for t in (low, high)]
            )
        return
    shown = [column.astype(object).where(column.notna(), MISSING) for column in (data, samples)]
    counts = [Counter(column.tolist()) for column in shown]
    values = [value for value, _ in counts[0].most_common(max_values)]
    values.sort(key=lambda value: (value == MISSING, str(type(value)), value))
    place = np.arange(len(values))
    for offset, count, colour, label in ((-0.2, counts[0], DATA, "data"), (0.2, counts[1], MODEL, "samples")):
        heights = [count[value] / max(count.total(), 1) for value in values]
        ax.bar(place + offset, heights, 0.4, color=colour, alpha=0.7, label=label)
    labels = [f"{value:g}" if isinstance(value, float) else str(value)[:9] for value in values]
    ax.set_xticks(place, labels, rotation=0 if sum(map(len, labels)) < 18 else 60)


def _codes(data: pd.Series, samples: pd.Series) -> tuple[Any, Any]:
    """Return both columns as numbers, which are the places of values that are none."""
    import pandas as pd

    both = pd.concat([data, samples], ignore_index=True)
    if isinstance(both.dtype, pd.CategoricalDtype):
        numbers = both.cat.codes.astype(float).where(both.notna())
    elif pd.api.types.is_numeric_dtype(both.dtype) or pd.api.types.is_datetime64_any_dtype(both.dtype):
        numbers = (
            both.astype("int64" if both.dtype.kind == "M" else "Float64").astype(float).where(both.notna())
        )
    else:
        numbers = pd.Series(pd.factorize(both, sort=True)[0].astype(float)).where(both.notna())
    return numbers[: len(data)], numbers[len(data) :]


def _correlations(columns: list[Any]) -> Any:
    import pandas as pd

    frame = pd.concat([column.reset_index(drop=True) for column in columns], axis=1)
    return frame.rank().corr().to_numpy()
