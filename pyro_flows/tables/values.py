"""A data frame's columns as plain numbers and texts, and back as the types they had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from .kinds import Kind

__all__ = ["Array", "plain", "restored", "tidy", "unit_of"]

Array = np.ndarray[Any, Any]

# Nanoseconds in the units that dates are counted in, the coarsest first.
UNITS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def tidy(series: pd.Series) -> pd.Series:
    """Return a column of Python objects as numbers, Booleans or dates if all its cells are such.

    Texts count as dates if all are written as 2024-12-31, with or without a time.

    Raises:
        TypeError: if a cell is something else than a number, text, Boolean or date.
    """
    import pandas as pd

    series = _without_arrow(series)
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype) or is_date(series):
        return series
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return series
    kept = series.dropna()
    texts = [isinstance(v, str) for v in kept]
    if len(kept) and all(texts):
        if bool(
            kept.str.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?").all()
        ):
            try:
                return pd.to_datetime(series, format="ISO8601")
            except ValueError:  # 2024-13-45
                return series
        return series
    kind = pd.api.types.infer_dtype(kept, skipna=True)
    if kind == "boolean":
        return series.astype("boolean" if series.isna().any() else bool)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pd.to_numeric(series.astype(float) if kind == "decimal" else series)
    if kind in ("date", "datetime", "datetime64"):
        return pd.to_datetime(series)
    strange = next((v for v in kept if not isinstance(v, str | bool | int | float)), None)
    if strange is not None:
        raise TypeError(
            f"column {series.name}: expected numbers, texts, Booleans or dates; got {type(strange).__name__}"
        )
    return series


def _without_arrow(series: pd.Series) -> pd.Series:
    """Return a column of one of Arrow's types that pandas can do little with in a type of pandas' own."""
    import pandas as pd

    if not isinstance(series.dtype, pd.ArrowDtype):
        return series
    name = str(series.dtype)
    if name.startswith("decimal"):
        return series.astype("Float64")
    if name.startswith("date"):
        return pd.to_datetime(series.astype(object))
    if name.startswith("dictionary"):
        return series.astype(object).astype("category")  # not at once: pandas cannot with gaps
    return series.astype(object) if name.startswith("null") else series


def is_date(series: pd.Series) -> bool:
    """Whether a column holds dates or times."""
    import pandas as pd

    return bool(pd.api.types.is_datetime64_any_dtype(series.dtype))


def unit_of(series: pd.Series) -> str:
    """Return the coarsest unit that all dates of a column are whole numbers of."""
    count = _nanoseconds(series.dropna())
    return next(unit for unit, size in UNITS.items() if bool((count % size == 0).all()))


def plain(series: pd.Series, unit: str | None = None) -> tuple[Array, Array]:
    """Return a tidy column's values, and which of them are missing.

    Numbers come as int64, uint64 if some need it, or float64, dates as int64 counts of `unit` since 1970, all else as objects.

    Raises:
        TypeError: if numbers are complex, or there are no dates but a unit is given.
        ValueError: if a number is infinite.
    """
    import pandas as pd

    missing = series.isna().to_numpy(dtype=bool)
    dtype = series.dtype
    if unit is not None:
        if not is_date(series):
            raise TypeError(f"column {series.name}: expected dates; got {dtype}")
        return np.where(missing, 0, _nanoseconds(series) // UNITS[unit]), missing
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories.dtype.kind in "iuf":
        wide = "Float64" if dtype.categories.dtype.kind == "f" else "Int64"
        series, dtype = series.astype(object).astype(wide), pd.Series(dtype=wide).dtype
    if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return series.astype(object).to_numpy(), missing
    if pd.api.types.is_complex_dtype(dtype):
        raise TypeError(f"column {series.name}: expected real numbers; got {dtype}")
    if pd.api.types.is_integer_dtype(dtype):
        whole = series.fillna(0)
        is_huge = len(whole) and whole.max() > np.iinfo(np.int64).max
        return whole.to_numpy(dtype=np.uint64 if is_huge else np.int64), missing
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(f"column {series.name}: row {infinite[0] + 1} holds an infinity")
    return np.where(missing, 0.0, values), missing


def restored(values: Array, missing: Array, name: str, kind: Kind) -> pd.Series:
    """Return a column of the type that `kind` tells."""
    import pandas as pd

    if kind.unit is not None:
        counts = pd.Series(values.astype(np.int64) * UNITS[kind.unit])
        dates = pd.to_datetime(counts, unit="ns", utc="," in kind.dtype)
        return dates.mask(missing).astype(kind.dtype).rename(name)
    if kind.categories is not None or values.dtype == object:
        cells = values.astype(object)
        cells[missing] = None
        series = pd.Series(cells, name=name, dtype=object)
        if kind.categories is not None:
            return series.astype(pd.CategoricalDtype(kind.categories, kind.ordered))
        return series.astype(kind.dtype)
    if missing.any():
        numbers = pd.Series(values, name=name).astype("Float64" if values.dtype.kind == "f" else "Int64")
        return numbers.mask(missing).astype(kind.dtype)
    return pd.Series(values, name=name).astype(kind.dtype)


def _nanoseconds(series: pd.Series) -> Array:
    naive = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
    counts: Array = naive.astype("datetime64[ns]").astype("int64").to_numpy()
    return counts
