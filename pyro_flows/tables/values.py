"""A data frame's columns as plain numbers and texts, and back in the types they had."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .dates import counts_of, dates_of_objects, dates_of_texts, is_date, restored_dates
from .whole import moved

if TYPE_CHECKING:
    import pandas as pd

    from .kinds import Kind

__all__ = ["Array", "plain", "restored", "tidy"]

Array = np.ndarray[Any, Any]

NULLABLE = {"f": "Float64", "i": "Int64", "u": "UInt64"}


def tidy(series: pd.Series) -> pd.Series:
    """Return a column of Python objects as numbers, Booleans or dates if all its cells are such.

    Texts count as dates if all are written as 2024-12-31, with or without a time.

    Raises:
        TypeError: if a cell is something else than a number, text, Boolean or date.
        ValueError: if whole numbers have more than 64 bits, or only some dates have a time zone.
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
        return dates_of_texts(series)
    kind = pd.api.types.infer_dtype(kept, skipna=True)
    if kind == "boolean":
        return series.astype("boolean" if series.isna().any() else bool)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        if kind == "integer" and max(abs(int(v)) for v in kept) > 2**53:
            return _of_64_bits(series, min(kept), max(kept))
        return pd.to_numeric(series.astype(float) if kind == "decimal" else series)
    if kind in ("date", "datetime", "datetime64"):
        return dates_of_objects(series)
    strange = next((v for v in kept if not isinstance(v, str | bool | int | float)), None)
    if isinstance(strange, datetime.date):
        odd = next(v for v in kept if not isinstance(v, datetime.date))
        raise TypeError(f"column {series.name}: expected dates, as {strange} is; got {odd!r}")
    if strange is not None:
        raise TypeError(
            f"column {series.name}: expected numbers, texts, Booleans or dates; got {type(strange).__name__}"
        )
    return series


def _of_64_bits(series: pd.Series, low: int, high: int) -> pd.Series:
    """Return a column of Python's integers, of which doubles cannot hold some, in a type that can."""
    if low < -(2**63) or high >= (2**63 if low < 0 else 2**64):
        raise ValueError(f"column {series.name}: expected whole numbers of 64 bits; got {low} … {high}")
    return series.astype("Int64" if high < 2**63 else "UInt64")


def _without_arrow(series: pd.Series) -> pd.Series:
    """Return a column of one of Arrow's types that pandas can do little with in a type of pandas' own."""
    import pandas as pd

    if not isinstance(series.dtype, pd.ArrowDtype):
        return series
    name = str(series.dtype)
    if name.startswith("decimal"):
        return series.astype("Float64")
    if name.startswith("date"):
        return dates_of_objects(series.astype(object))
    if name.startswith("dictionary"):
        return series.astype(object).astype("category")  # not at once: pandas cannot with gaps
    return series.astype(object) if name.startswith("null") else series


def plain(series: pd.Series, kind: Kind | None = None) -> tuple[Array, Array]:
    """Return a tidy column's values, and which of them are missing.

    Numbers come as int64, uint64 if some need it, or float64, all else as objects. Dates come as counts of
    the kind's unit since 1970, which end in a half for dates between two of these.

    Raises:
        TypeError: if numbers are complex, or the kind is of dates and these are none, or of dates with a time
            zone and these have none, or the like.
        ValueError: if a number is infinite.
    """
    import pandas as pd

    missing = series.isna().to_numpy(dtype=bool)
    dtype = series.dtype
    if kind is not None and kind.unit is not None:
        counts = np.zeros(len(series), np.int64) if missing.all() else counts_of(series, missing, kind)
        return counts, missing
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories.dtype.kind in "iuf":
        wide = NULLABLE[dtype.categories.dtype.kind]
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
    """Return a column of the type that `kind` tells, of the nearest values that this type holds."""
    import pandas as pd

    if kind.unit is not None:
        return restored_dates(values, kind).mask(missing).astype(kind.dtype).rename(name)
    if kind.categories is not None or values.dtype == object:
        cells = values.astype(object)
        cells[missing] = None
        series = pd.Series(cells, name=name, dtype=object)
        if kind.categories is not None:
            return series.astype(pd.CategoricalDtype(kind.categories, kind.ordered))
        return series.astype(kind.dtype)
    numbers = pd.Series(_held(values, kind), name=name)
    if missing.any():
        numbers = numbers.astype(NULLABLE[numbers.dtype.kind]).mask(missing)
    return numbers.astype(kind.dtype)


def _held(values: Array, kind: Kind) -> Array:
    """Return the nearest numbers that a column's type can hold, within the kind's bounds if they were."""
    import pandas as pd

    dtype = pd.api.types.pandas_dtype(kind.dtype)
    dtype = getattr(dtype, "numpy_dtype", dtype)  # of pandas' nullable types, and Arrow's
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        return values
    inner: tuple[Any, Any]  # the bounds' neighbours
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        held = values.astype(np.float64).clip(-most, most).astype(dtype)
        low, high = dtype.type(kind.low), dtype.type(kind.high)
        inner = np.nextafter(low, high), np.nextafter(high, low)
    else:
        held = _narrowed(values, dtype) if values.dtype.kind in "iu" else moved(np.rint(values), 0, dtype)
        inner = kind.low + 1, kind.high - 1
    if kind.is_density and math.isfinite(kind.low):
        held[(held <= kind.low) & (values > kind.low)] = inner[0]
    if kind.is_density and math.isfinite(kind.high):
        held[(held >= kind.high) & (values < kind.high)] = inner[1]
    return held


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return the nearest integers that another type of integers holds."""
    info, own = np.iinfo(dtype), np.iinfo(values.dtype)
    narrowed: Array = values.clip(max(info.min, own.min), min(info.max, own.max)).astype(dtype)
    return narrowed
