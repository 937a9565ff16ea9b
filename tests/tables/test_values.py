"""The types of columns: what they can hold, and what is told of cells of other types."""

import datetime
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_flows.tables import Kind, Schema
from pyro_flows.tables.column import Column

G = np.random.default_rng(0)
FAR = torch.linspace(-37, 37, 999, dtype=torch.float64)  # scores as far out as there are probabilities


def column_of(series, kind=None):
    series = pd.Series(series).rename("c")
    return Column.of(series, Kind.of(series, kind), np.ones(len(series)))


def cauchy(limit):
    return np.clip(np.round(30 * G.standard_cauchy(400)), -limit, limit)


# Columns, and the kind that is set for them, if any.
NARROW = {
    "uint8": (G.poisson(200, 400).clip(0, 255).astype(np.uint8), None),
    "int8": (cauchy(127).astype(np.int8), None),
    "Int16 with gaps": (pd.Series(cauchy(2**14), dtype="Int16").mask(np.arange(400) % 9 == 0), None),
    "uint64": (np.uint64(2**63) + G.integers(0, 2**63, 400, dtype=np.uint64), None),
    "float16": (cauchy(6e4).astype(np.float16) + np.float16(0.5), None),
    "float32": ((1e38 * G.standard_normal(400)).astype(np.float32), None),
    "sizes in float32": (G.lognormal(0, 20, 400).astype(np.float32), None),
    "fractions in float16": ((0.9 + 0.0995 * G.random(400)).astype(np.float16), None),
    "whole numbers as real": (G.integers(0, 256, 400).astype(np.uint8), "real"),
    "whole numbers as positive": (G.integers(1, 256, 400).astype(np.uint8), "positive"),
}


@pytest.mark.parametrize(("series", "kind"), NARROW.values(), ids=NARROW)
def test_draws_are_in_order_and_possible_at_the_ends_of_a_type(series, kind):
    column = column_of(series, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = column.decode(FAR)
    assert drawn.dtype == pd.Series(series).dtype
    assert bool((drawn.dropna().astype(float).diff()[1:] >= 0).all())
    assert bool(column.encode(drawn)[2].isfinite().all())


def test_real_draws_of_a_column_of_whole_numbers_are_rounded():
    values = np.tile(np.arange(100, 200), 20)
    column = column_of(values, "real")
    drawn = column.decode(torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000))
    assert drawn.dtype == np.int64
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.1)  # 0.5 less if cut off


def days(first, count=400):
    return pd.Series(pd.Timestamp(first) + pd.to_timedelta(G.integers(0, 90_000, count), unit="D"), name="c")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Oslo"])
def test_dates_are_drawn_within_what_their_type_holds(unit, zone):
    dates = (
        days("1750-01-01").dt.as_unit(unit).dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    )
    column = column_of(dates)
    drawn = column.decode(FAR)
    assert drawn.dtype == dates.dtype
    assert drawn.is_monotonic_increasing
    assert bool(column.encode(drawn)[2].isfinite().all())
    assert drawn.dt.year.min() > 0  # years that can be printed
    assert drawn.dt.year.max() < 10_000


OLD_AND_FAR = ["1433-05-06", "9999-12-31", "2024-01-01", "2024-01-02", "2024-02-01"] * 4


@pytest.mark.parametrize(
    "write",
    [
        lambda texts: texts,
        lambda texts: [datetime.date.fromisoformat(text) for text in texts],
        lambda texts: [datetime.datetime.fromisoformat(text) for text in texts],
        lambda texts: np.array(texts, dtype="datetime64[s]"),
        lambda texts: [f"{text}T00:00:00Z" for text in texts],
    ],
    ids=["texts", "dates", "times", "seconds", "texts with a zone"],
)
def test_dates_beyond_those_of_nanoseconds(write):
    series = pd.Series(write(OLD_AND_FAR), name="c")
    column = column_of(series)
    assert (column.kind.name, column.kind.unit) == ("date", "D")
    lower, upper, log_prob = column.encode(series)
    assert bool(log_prob.isfinite().all())
    back = column.decode((lower + upper) / 2)
    assert back.dt.strftime("%Y-%m-%d").tolist() == OLD_AND_FAR


def test_a_date_out_of_reach_of_a_columns_nanoseconds_is_scored():
    times = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(G.integers(0, 2**50, 400), unit="ns"))
    column = column_of(times)
    assert column.kind.unit == "ns"
    odd = pd.Series(np.array(["2024-01-01", "2100-01-01", "9999-12-31"], dtype="datetime64[s]"), name="c")
    log_prob = column.encode(odd)[2]
    assert bool(log_prob.isfinite().all() & (log_prob.diff() < 0).all())


def test_a_time_between_days_cannot_occur():
    dates = pd.Series(pd.date_range("2024-01-01", periods=60), name="c")
    column, later = column_of(dates), dates.copy()
    later[1::2] += pd.Timedelta(hours=13, minutes=7)
    before, log_prob = column.encode(dates)[2], column.encode(later)[2]
    assert torch.equal(log_prob[::2], before[::2])
    assert bool(log_prob[1::2].isneginf().all())
    with pytest.raises(ValueError, match=r"column c: row 2 holds .*13:07.*, which cannot occur"):
        Schema.of(dates.to_frame()).features(later.to_frame())


def test_dates_with_and_without_a_time_zone_are_told_apart():
    dates = pd.Series(pd.date_range("2024-01-01", periods=60), name="c")
    aware = dates.dt.tz_localize("America/New_York")
    with pytest.raises(TypeError, match="column c: expected dates with a time zone; got dates without one"):
        column_of(aware).encode(dates)
    with pytest.raises(TypeError, match="column c: expected dates without a time zone; got dates with one"):
        column_of(dates).encode(aware)
    column = column_of(aware)
    moved = column.encode(aware.dt.tz_convert("Asia/Tokyo"))
    assert all(torch.equal(a, b) for a, b in zip(moved, column.encode(aware), strict=True))
    both = pd.Series(["2024-01-01 10:00", "2024-01-01 10:00Z"], name="c")
    for mixed in (both, both.map(datetime.datetime.fromisoformat)):
        with pytest.raises(ValueError, match="column c: expected dates that all have a time zone, or none"):
            column_of(mixed)


def test_texts_of_several_offsets_are_one_time():
    texts = pd.Series(["2024-03-30 12:00+01:00", "2024-03-31 12:00+02:00", "2024-03-31 08:00Z"] * 3)
    for series in (texts, texts.map(datetime.datetime.fromisoformat)):
        kind = Kind.of(series.rename("c"))
        assert (kind.name, kind.unit) == ("date", "s")
        column = column_of(series)
        drawn = column.decode(column.encode(series.rename("c"))[0] + 1e-9)
        assert drawn[:3].dt.strftime("%d %H").tolist() == ["30 11", "31 10", "31 08"]


FITTED = {
    "numbers": pd.Series(G.normal(size=60)),
    "whole numbers": pd.Series(G.poisson(40, 60), dtype="Int64"),
    "Booleans": pd.Series([True, False] * 30, dtype="boolean"),
    "texts": pd.Series(["a", "b"] * 30),
    "dates": pd.Series(pd.date_range("2024-01-01", periods=60)),
    "categories": pd.Series(["a", "b"] * 30, dtype="category"),
    "nothing": pd.Series([None] * 60, dtype="Int64"),
}
BLANK = ["Int64", "UInt8", "Float64", "boolean", "float64", "object", "string", "category", "datetime64[ns]"]


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("dtype", BLANK)
def test_a_part_of_gaps_only_can_be_scored(name, dtype):
    series = FITTED[name].mask(np.arange(60) % 6 == 0).rename("c")
    column = column_of(series)
    gaps = pd.Series([None] * 3, dtype=dtype, name="c")
    gap = math.log((series.isna().sum() + 0.5) / sum(column.counts))
    assert column.encode(gaps)[2].tolist() == pytest.approx([gap] * 3)
    assert column.encode(gaps[:0])[2].shape == (0,)


@pytest.mark.parametrize("dtype", BLANK)
def test_a_column_of_gaps_only_is_constant(dtype):
    series = pd.Series([None] * 5, dtype=dtype, name="c")
    column = column_of(series)
    assert column.is_constant
    drawn = column.decode(torch.zeros(5))
    assert drawn.dtype == series.dtype or dtype == "category"
    assert bool(drawn.isna().all())
