"""Dates as counts of a unit since 1970, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from .kinds import Kind
    from .values import Array

__all__ = ["counts_of", "dates_of_objects", "dates_of_texts", "is_date", "restored_dates", "unit_of"]

# Nanoseconds in the units that dates are counted in, the coarsest first.
UNITS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
FIRST, LAST = -62_135_596_800, 253_402_300_799  # the first second of the year 1, and the last of 9999
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?")


def is_date(series: pd.Series) -> bool:
    """Whether a column holds dates or times."""
    import pandas as pd

    return bool(pd.api.types.is_datetime64_any_dtype(series.dtype))


def dates_of_texts(series: pd.Series) -> pd.Series:
    """Return dates if all texts of a column are written as 2024-12-31, a time may follow; else the column.

    Raises:
        ValueError: if some have a time zone and others have none.
    """
    zones = set()
    for text in series.dropna():
        found = ISO.fullmatch(text)
        if found is None:
            return series
        zones.add(found["zone"] or "")
    _check_zones(series, zones)
    try:
        return _dates(series, zones, format="ISO8601")
    except ValueError:  # 2024-13-45
        return series


def dates_of_objects(series: pd.Series) -> pd.Series:
    """Return a column of Python's dates in a type of pandas' own.

    Raises:
        ValueError: if some have a time zone and others have none.
    """
    zones = {str(getattr(value, "tzinfo", None) or "") for value in series.dropna()}
    _check_zones(series, zones)
    return _dates(series, zones)


def _check_zones(series: pd.Series, zones: set[str]) -> None:
    if "" in zones and len(zones) > 1:
        raise ValueError(
            f"column {series.name}: expected dates that all have a time zone, or none; got some of each"
        )


def _dates(series: pd.Series, zones: set[str], **options: str) -> pd.Series:
    """Return a column's dates, in UTC if they are of several time zones; "" is none."""
    import pandas as pd

    try:
        return pd.to_datetime(series, utc=len(zones) > 1, **options)
    except pd.errors.OutOfBoundsDatetime:  # of nanoseconds
        return series.astype("datetime64[us]" if "" in zones else "datetime64[us, UTC]")


def unit_of(series: pd.Series) -> str:
    """Return the coarsest unit that all dates of a column are whole numbers of."""
    ticks, own = _ticks(series.dropna())
    finer = {unit: size // UNITS[own] for unit, size in UNITS.items() if size >= UNITS[own]}
    return next(unit for unit, size in finer.items() if bool((ticks % size == 0).all()))


def _ticks(series: pd.Series) -> tuple[Array, str]:
    """Return the counts since 1970 of dates in the unit of their type, and that unit."""
    naive = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
    dtype = getattr(naive.dtype, "numpy_dtype", naive.dtype)
    ticks: Array = naive.astype(dtype).astype("int64").to_numpy()
    return ticks, np.datetime_data(dtype)[0]


def counts_of(series: pd.Series, missing: Array, kind: Kind) -> Array:
    """Return the counts since 1970 of dates in the kind's unit, ending in a half for dates between two.

    Raises:
        TypeError: if these are no dates, or they have a time zone and the kind's have none, or conversely.
    """
    if not is_date(series):
        raise TypeError(f"column {series.name}: expected dates; got {series.dtype}")
    if (series.dt.tz is not None) != ("," in kind.dtype):
        wanted, got = ("with a", "without") if "," in kind.dtype else ("without a", "with")
        raise TypeError(f"column {series.name}: expected dates {wanted} time zone; got dates {got} one")
    ticks, own = _ticks(series)
    ticks = np.where(missing, 0, ticks)
    size, unit = UNITS[own], UNITS[str(kind.unit)]
    if unit >= size:
        counts, rest = np.divmod(ticks, unit // size)
        return np.where(rest != 0, counts + 0.5, counts) if rest.any() else counts
    finer = size // unit
    # As doubles, if 64 bits are too few.
    return ticks * (finer if np.abs(ticks).max() <= np.iinfo(np.int64).max // finer else float(finer))


def restored_dates(counts: Array, kind: Kind) -> pd.Series:
    """Return the dates of counts in the kind's unit, the nearest that its type holds."""
    import pandas as pd

    dtype = pd.api.types.pandas_dtype(kind.dtype)
    own = getattr(dtype, "unit", None) or np.datetime_data(getattr(dtype, "numpy_dtype", dtype))[0]
    size, second = UNITS[str(kind.unit)] // UNITS[own], UNITS["s"] // UNITS[own]
    most = np.iinfo(np.int64).max // second
    apart = 14 * 3600 if "," in kind.dtype else 0  # a time zone's clock and UTC's
    first, last = max(-most, FIRST) + apart, min(most, LAST) - apart
    ticks = counts.clip(-(-first * second // size), last * second // size) * size
    dates = pd.Series(ticks.astype(f"datetime64[{own}]"))
    return dates.dt.tz_localize("UTC") if "," in kind.dtype else dates
