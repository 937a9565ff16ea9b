import datetime
import math

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_flows.tables import Kind, Schema
from pyro_flows.tables.column import Column
from pyro_flows.tables.normal import ndtr

G = np.random.default_rng(0)
COUNT = 400


def gaps(values, dtype):
    series = pd.Series(values, dtype=dtype)
    series[::7] = None
    return series


def day(values):
    return pd.Timestamp("2020-02-28") + pd.to_timedelta(values, unit="D")


COLUMNS = {
    # values: (the kind that is inferred, the column)
    "real": ("real", pd.Series(G.normal(size=COUNT))),
    "real, single precision": ("real", pd.Series(G.normal(size=COUNT).astype(np.float32))),
    "real with gaps": ("real", gaps(G.normal(size=COUNT), float)),
    "real, nullable": ("real", gaps(G.normal(size=COUNT), "Float64")),
    "real with an atom": ("real", pd.Series(np.where(G.random(COUNT) < 0.3, 0.5, G.normal(size=COUNT)))),
    "seconds since 1970": ("real", pd.Series(1.7e9 + 600 * G.random(COUNT))),
    "positive": ("positive", pd.Series(G.lognormal(2, 2, size=COUNT))),
    "positive with zeros": ("positive", pd.Series(np.maximum(0, G.normal(size=COUNT)))),
    "claims": (
        "positive",
        pd.Series(np.where(np.arange(COUNT) % 25 > 0, 0, G.lognormal(5, 1.5, size=COUNT))),
    ),
    "whole claims": (
        "integer",
        pd.Series(np.where(np.arange(COUNT) % 40 > 0, 0, 7 ** (np.arange(COUNT) // 40))),
    ),
    "losses and gains": ("real", pd.Series(np.where(G.random(COUNT) < 0.97, 0, G.normal(size=COUNT)))),
    "fraction, mostly one": (
        "fraction",
        pd.Series(np.where(G.random(COUNT) < 0.97, 1, G.random(size=COUNT))),
    ),
    "fraction": ("fraction", pd.Series(G.beta(0.5, 2, size=COUNT))),
    "fraction with both ends": ("fraction", pd.Series(np.clip(G.normal(0.5, 0.4, size=COUNT), 0, 1))),
    "counts": ("integer", pd.Series(G.poisson(30, size=COUNT))),
    "counts as floats with gaps": ("integer", gaps(G.poisson(30, size=COUNT), float)),
    "counts, nullable": ("integer", gaps(G.poisson(30, size=COUNT), "Int64")),
    "whole and negative": ("integer", pd.Series(G.integers(-500, 500, size=COUNT))),
    "skewed counts": ("integer", pd.Series((G.pareto(1, size=COUNT) * 3).astype(np.int32))),
    "identifiers without a sign": (
        "integer",
        pd.Series(2**63 + G.integers(0, 10**6, size=COUNT).astype(np.uint64)),
    ),
    "identifiers without a sign, with gaps": (
        "integer",
        gaps(2**63 + G.integers(0, 10**6, size=COUNT).astype(np.uint64), "UInt64"),
    ),
    "levels without a sign": (
        "ordinal",
        pd.Series(np.uint64(2**64 - 6) + G.integers(1, 6, size=COUNT).astype(np.uint64)),
    ),
    "large identifiers": ("integer", pd.Series(2**62 + G.integers(0, 10**6, size=COUNT))),
    "levels": ("ordinal", pd.Series(G.choice([0.5, 2.5, 6.0], size=COUNT))),
    "levels of which some are rare": ("ordinal", pd.Series(np.minimum(np.arange(COUNT) // 30, 9) / 2 + 0.5)),
    "levels and three others": ("ordinal", pd.Series([0.5, 1.5, 2.5, 4.0] * 99 + [1.1, 0.7, 2.9, 0.5])),
    "a level and another": ("ordinal", pd.Series([0.0] * 29 + [1.5])),
    "small whole numbers": ("ordinal", pd.Series(G.integers(1, 6, size=COUNT))),
    "texts": ("categorical", pd.Series(G.choice(["red", "green", "blue, dark"], size=COUNT))),
    "texts with gaps": ("categorical", gaps(G.choice(["red", "green"], size=COUNT), object)),
    "many texts": ("categorical", pd.Series(G.integers(0, 150, size=COUNT)).astype(str)),
    "categories": (
        "categorical",
        pd.Series(pd.Categorical(G.choice(["b", "a"], COUNT), ["b", "a", "never"], ordered=True)),
    ),
    "categories of numbers": ("categorical", pd.Series(G.integers(1, 4, size=COUNT)).astype("category")),
    "categories with gaps": ("categorical", gaps(G.choice(["b", "a"], size=COUNT), "category")),
    "Booleans": ("boolean", pd.Series(G.random(COUNT) < 0.3)),
    "Booleans with gaps": ("boolean", gaps(G.random(COUNT) < 0.3, "boolean")),
    "days": ("date", pd.Series(day(G.integers(0, 300, size=COUNT)))),
    "days with gaps": ("date", gaps(day(G.integers(0, 300, size=COUNT)), "datetime64[ns]")),
    "seconds": ("date", pd.Series(day(0) + pd.to_timedelta(G.integers(0, 10**8, size=COUNT), unit="s"))),
    "nanoseconds": ("date", pd.Series(day(0) + pd.to_timedelta(G.integers(0, 2**50, size=COUNT), unit="ns"))),
    "numbers without end": ("positive", pd.Series(np.floor(10.0 ** G.uniform(3, 300, size=COUNT)))),
    "times of a zone": ("date", pd.Series(day(G.integers(0, 300, size=COUNT))).dt.tz_localize("Europe/Oslo")),
    "constant number": ("ordinal", pd.Series([2.5] * COUNT)),
    "constant text": ("categorical", pd.Series(["x"] * COUNT)),
    "nothing but gaps": ("ordinal", pd.Series([np.nan] * COUNT)),
    "numbers and texts": ("categorical", pd.Series([1, 2.5, "A3", 7] * (COUNT // 4))),
    "numbers, texts and gaps": ("categorical", pd.Series([1, None, "A3", True] * (COUNT // 4), dtype=object)),
    "categories of both": ("categorical", pd.Series(pd.Categorical([1, 2, "A3", 7] * (COUNT // 4)))),
}


def column_of(series, kind=None):
    series = series.rename("c")
    return Column.of(series, Kind.of(series, kind), np.ones(len(series)))


def middle(lower, upper):
    a, b = ndtr(lower), ndtr(upper)
    flip = lower > 0
    mean = torch.where(flip, ndtr(-lower) + ndtr(-upper), a + b) / 2
    between = torch.where(flip, -torch.special.ndtri(mean), torch.special.ndtri(mean))
    return torch.where(upper - lower < 1e-6, (lower + upper) / 2, between)


@pytest.mark.parametrize(("kind", "series"), COLUMNS.values(), ids=COLUMNS)
def test_cells_come_back_as_they_were(kind, series):
    column = column_of(series)
    assert column.kind.name == kind
    saved = Column.of_state(column.state())
    lower, upper, log_prob = column.encode(series.rename("c"))
    assert bool(log_prob.isfinite().all())
    assert bool((lower <= upper).all())
    back = saved.decode(middle(lower, upper))
    assert back.dtype == series.dtype
    if kind in ("real", "positive", "fraction"):
        pd.testing.assert_series_equal(back, series.rename("c"), rtol=1e-6)
    else:
        pd.testing.assert_series_equal(back, series.rename("c"))


@pytest.mark.parametrize(("kind", "series"), COLUMNS.values(), ids=COLUMNS)
def test_drawn_cells_can_be_scored(kind, series):
    column = column_of(series)
    drawn = column.decode(torch.randn(1000))
    assert drawn.dtype == series.dtype
    log_prob = column.encode(drawn)[2]
    assert bool(log_prob.isfinite().all())
    gap = float(series.isna().mean())
    assert abs(float(drawn.isna().mean()) - gap) < 0.05


def integral(series, low, high, count=200_001):
    """Return the probability of the listed values, and the integral of the density over (low, high)."""
    column = column_of(series)
    x = np.linspace(low, high, count)[1:-1]
    log_density = column.encode(pd.Series(x, name="c"))[2]
    listed = [v for v in column.values if v is not None]
    discrete = column.encode(pd.Series(listed, name="c", dtype=float))[2].exp().sum() if listed else 0.0
    missing = math.exp(column.log_probs[0]) if column.values[:1] == [None] else 0.0
    return float(discrete) + missing + float(log_density.exp().sum()) * (high - low) / (count - 1)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("real", -60, 60),
        ("real with gaps", -60, 60),
        ("positive with zeros", 0, 30),
        ("fraction", 0, 1),
        ("fraction with both ends", 0, 1),
        ("seconds since 1970", 1.7e9 - 40_000, 1.7e9 + 40_000),
    ],
)
def test_densities_integrate_to_one_in_the_tables_units(name, low, high):
    assert integral(COLUMNS[name][1], low, high) == pytest.approx(1, abs=4e-3)


@pytest.mark.parametrize(
    "name", ["counts", "counts as floats with gaps", "whole and negative", "skewed counts"]
)
def test_probabilities_of_whole_numbers_sum_to_one(name):
    series = COLUMNS[name][1]
    column = column_of(series)
    log_prob = column.encode(pd.Series(np.arange(-300_000, 300_000), name="c"))[2]
    missing = math.exp(column.log_probs[0]) if column.values[:1] == [None] else 0.0
    assert float(log_prob.exp().sum()) + missing == pytest.approx(1, abs=2e-3)


def test_listed_values_have_the_probabilities_that_were_counted():
    column = column_of(pd.Series(["a"] * 299 + ["b"] * 99 + [None] * 99))
    log_prob = column.encode(pd.Series(["a", "b", None], name="c"))[2]
    torch.testing.assert_close(log_prob.exp(), torch.tensor([299.5, 99.5, 99.5]).double() / 498.5)


def test_rows_of_no_weight_tell_only_what_can_occur():
    series = pd.Series(["a", "b", "a", None], name="c")
    column = Column.of(series, Kind.of(series), np.array([1.0, 0.0, 1.0, 0.0]))
    probabilities = dict(zip(column.values, column.log_probs.exp().tolist(), strict=True))
    assert probabilities == pytest.approx({"a": 2.5 / 3.5, "b": 0.5 / 3.5, None: 0.5 / 3.5})


def test_rare_amounts_are_no_levels():
    """A twenty-fifth of rows hold lognormal amounts: fresh rows have P(0), and their density."""
    g = np.random.default_rng(0)

    def amounts(count):
        return pd.Series(np.where(g.random(count) < 0.96, 0, g.lognormal(5, 1.5, size=count)), name="c")

    column, fresh = column_of(amounts(3000)), amounts(3000)
    assert (column.kind.name, column.kind.listed) == ("positive", [0.0])
    log_prob = column.encode(fresh)[2].numpy()
    assert log_prob[fresh == 0] == pytest.approx(math.log(0.96), abs=0.02)
    logs = np.log(fresh[fresh > 0])
    truth = math.log(0.04) - logs - math.log(1.5 * math.sqrt(2 * math.pi)) - ((logs - 5) / 1.5) ** 2 / 2
    assert log_prob[fresh > 0].mean() == pytest.approx(truth.mean(), abs=0.1)
    drawn = column.decode(torch.randn(3000, generator=torch.Generator().manual_seed(0)))
    assert drawn[drawn > 0].nunique() > 80


@pytest.mark.parametrize("unit", [1e-60, 1e-18, 6e23, 1e200])
def test_real_columns_of_any_unit(unit):
    values = G.normal(size=COUNT)
    usual, column = column_of(pd.Series(values)), column_of(pd.Series(values * unit))
    log_prob = [c.encode(pd.Series(x, name="c"))[2] for c, x in ((usual, values), (column, values * unit))]
    torch.testing.assert_close(log_prob[1] + math.log(unit), log_prob[0])
    z = torch.linspace(-3, 3, 101, dtype=torch.float64)
    np.testing.assert_allclose(column.decode(z) / unit, usual.decode(z), rtol=1e-6)


# Whole numbers of which 64 bits cannot hold all differences: their draws, and each one's log-probability.
WIDE = {
    "all": (lambda g: g.integers(-(2**63), 2**63 - 1, 2000), -64 * math.log(2)),
    "none negative": (lambda g: g.integers(0, 2**63 - 1, 2000), -63 * math.log(2)),
    "without a sign": (lambda g: g.integers(0, 2**64 - 1, 2000, dtype=np.uint64), -64 * math.log(2)),
    "a million above 2⁶³": (
        lambda g: np.uint64(2**63) + g.integers(0, 10**6, 2000, dtype=np.uint64),
        -math.log(10**6),
    ),
}


@pytest.mark.parametrize(("draw", "truth"), WIDE.values(), ids=WIDE)
def test_whole_numbers_further_apart_than_64_bits_tell(draw, truth):
    series = pd.Series(draw(np.random.default_rng(0)), name="c")
    column = column_of(series)
    assert column.kind.name == "integer"
    log_prob = column.encode(series)[2]
    assert float(log_prob.mean()) == pytest.approx(truth, abs=0.02)
    assert float(log_prob.std()) < 0.6
    levels = torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000)
    drawn = column.decode(levels)
    assert drawn.dtype == series.dtype
    width = float(series.max()) - float(series.min())
    np.testing.assert_allclose(drawn.astype(float), np.sort(series).astype(float), rtol=0, atol=0.03 * width)
    assert drawn.nunique() > 1990


@pytest.mark.parametrize("far", [2**63 - 1, 2**60, 10**10, -(10**10), -(2**63), 2**64 - 1])
@pytest.mark.parametrize("share", [0.0005, 0.1])
def test_a_stand_in_for_missing_numbers_costs_the_others_nothing(far, share):
    numbers = np.arange(2000) % 1000
    dtype = np.uint64 if far > 2**63 else np.int64
    is_far = np.arange(2000) < share * 2000
    series = pd.Series(np.where(is_far, dtype(far), numbers.astype(dtype)), name="c")
    column = column_of(series)
    log_prob = column.encode(series)[2].numpy()
    assert log_prob[~is_far].mean() == pytest.approx(math.log((1 - share) / 1000), abs=0.02)
    drawn = column.decode(torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000))
    assert drawn.dtype == series.dtype
    near = drawn[(drawn >= 0) & (drawn < 1000)]
    assert len(near) == pytest.approx((1 - share) * 2000, abs=3)
    assert near.nunique() > 850
    if abs(far) < 2**53:
        assert np.exp(log_prob[is_far]) == pytest.approx(share, rel=0.02)
        assert (drawn == far).sum() == pytest.approx(share * 2000, abs=1)


IMPOSSIBLE = {
    "a new category": ("texts", "purple"),
    "a gap where there were none": ("real", None),
    "a negative count": ("counts", -1),
    "half a count": ("counts", 2.5),
    "a negative size": ("positive", -0.5),
    "a zero where there were none": ("positive", 0.0),
    "a fraction above 1": ("fraction", 1.5),
    "a new level": ("levels", 1.0),
}


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_occur_has_no_probability(name, value):
    series = COLUMNS[name][1]
    given = pd.Series([series[0], value], name="c", dtype=object if isinstance(value, str) else float)
    log_prob = column_of(series).encode(given)[2]
    assert log_prob.isfinite().tolist() == [True, False]
    assert float(log_prob[1]) == -math.inf


@pytest.mark.parametrize(("name", "value"), [("counts", 10_000), ("real", 1e12), ("positive", 1e-20)])
def test_what_was_never_seen_but_can_occur_is_improbable(name, value):
    log_prob = column_of(COLUMNS[name][1]).encode(pd.Series([value], name="c"))[2]
    assert -3000 < float(log_prob) < -10


def test_objects_are_taken_for_what_they_are():
    days = [datetime.date(2024, 1, i % 28 + 1) for i in range(60)]
    found = {
        "integer": pd.Series(list(range(60)), dtype=object),
        "boolean": pd.Series([True, None, False] * 20, dtype=object),
        "date": pd.Series(days, dtype=object),
        "ordinal": pd.Series([2**63 + 1, None, 2**63 + 2] * 20, dtype=object),  # no two doubles
        "categorical": pd.Series(["1", 2, None] * 20, dtype=object),
    }
    assert {Kind.of(series.rename("c")).name for series in found.values()} == set(found)
    assert Kind.of(found["ordinal"].rename("c")).listed == [2**63 + 1, 2**63 + 2]
    assert Kind.of(pd.Series(["2024-01-02", "2024-01-03 10:00"], name="c")).unit == "s"
    assert Kind.of(pd.Series(["2024-13-45"] * 3, name="c")).name == "categorical"


BAD = {
    "an unknown kind": (
        pd.Series([1.0, 2.0]),
        "colour",
        ValueError,
        "column c: expected a kind among ",
    ),
    "a date and a text": (
        pd.Series([datetime.date(2024, 1, 2), "n/a"], dtype=object),
        None,
        TypeError,
        "column c: expected dates, as 2024-01-02 is; got 'n/a'",
    ),
    "a text among numbers set as real": (
        pd.Series(["1.5", "?", "2.5"]),
        "real",
        TypeError,
        r"column c: expected numbers for kind real; got '\?'",
    ),
    "nothing as real": (
        pd.Series([None] * 3, dtype=object),
        "real",
        TypeError,
        "column c: expected numbers for kind real; got gaps only",
    ),
    "texts as numbers": (
        pd.Series(["a", "b"]),
        "real",
        TypeError,
        "for kind real; got 'a'",
    ),
    "dates as numbers": (
        pd.Series(day([1, 2])),
        "real",
        TypeError,
        "for kind real; got dates",
    ),
    "numbers as dates": (pd.Series([1.0, 2.0]), "date", TypeError, "column c: expected dates; got float64"),
    "fractions as whole": (pd.Series([1.0, 2.5]), "integer", ValueError, "whole numbers, .*; got 2.5"),
    "negative as positive": (
        pd.Series([1.0, -2.5]),
        "positive",
        ValueError,
        r"within \(0.0, inf\)",
    ),
    "a constant as real": (
        pd.Series([1.0, 1.0]),
        "real",
        ValueError,
        "more than one value for kind real",
    ),
    "more than 64 bits": (
        pd.Series([2**70, 5, None], dtype=object),
        None,
        ValueError,
        "column c: expected whole numbers of 64 bits; got 5 … 1180591620717411303424",
    ),
    "numbers too close": (
        pd.Series([1e-200, -2e-200, 3e-201]),
        None,
        ValueError,
        "column c: expected numbers that span more than 1e-100 and .*; got -2e-200 … 1e-200",
    ),
    "numbers too far apart": (
        pd.Series([1.5e308, -1.5e308, 0.5]),
        None,
        ValueError,
        r"column c: expected numbers that span .* less than 1e308; got -1.5e\+308 … 1.5e\+308",
    ),
    "one value beside an atom": (
        pd.Series([0.0] * 29 + [1.5]),
        "positive",
        ValueError,
        r"column c: expected more than one value beside 0 for kind positive; got \[1.5\]",
    ),
    "an infinity": (pd.Series([1.0, math.inf]), None, ValueError, "column c: row 2 holds an infinity"),
    "complex numbers": (pd.Series([1j, 2.0]), None, TypeError, "expected real numbers; got complex128"),
    "lists": (pd.Series([[1], [2]]), None, TypeError, "expected numbers, texts, Booleans or dates; got list"),
    "identifiers": (pd.Series([f"id{i}" for i in range(50)]), None, ValueError, "50 texts, all different"),
}


@pytest.mark.parametrize(("series", "kind", "error", "message"), BAD.values(), ids=BAD)
def test_columns_that_cannot_be_modelled(series, kind, error, message):
    with pytest.raises(error, match=message):
        column_of(series, kind)


MIXED = pd.Series([1, 2, "A3", "A3"] * 100)
BOOLEANS, REALS = pd.Series([True, False] * 200), pd.Series(np.arange(400) / 7)
OTHER_SORTS = {
    "Booleans as numbers": (BOOLEANS, BOOLEANS.astype(int), "expected Booleans; got numbers$"),
    "numbers as Booleans": (BOOLEANS.astype(int), BOOLEANS, "expected numbers; got Booleans$"),
    "texts as Booleans": (BOOLEANS.astype(str), BOOLEANS, "expected texts; got Booleans$"),
    "mixed as Booleans": (MIXED, BOOLEANS, "expected numbers or texts; got Booleans$"),
    "reals with a text": (REALS, pd.Series([0.5, 1.5, "two"]), "numbers; got texts in row 3$"),
    "reals with a text after a gap": (REALS, pd.Series([None, 1.5, "x"]), "numbers; got texts in row 3$"),
}


@pytest.mark.parametrize(("fitted", "given", "message"), OTHER_SORTS.values(), ids=OTHER_SORTS)
def test_cells_of_another_sort_are_refused(fitted, given, message):
    with pytest.raises(TypeError, match=f"column c: .*{message}"):
        column_of(fitted).encode(given.rename("c"))


@pytest.mark.parametrize("kind", [None, "categorical"])
def test_numbers_and_texts_in_one_column_are_categories(kind):
    column = column_of(MIXED, kind)
    wanted = torch.tensor([100.5, 100.5, 200.5], dtype=torch.float64).log() - math.log(401.5)
    torch.testing.assert_close(column.encode(pd.Series([1, 2, "A3"]))[2], wanted)
    torch.testing.assert_close(column.encode(pd.Series([2, 1]))[2], wanted[:2])  # a batch without texts
    assert column.encode(pd.Series([3, "A3", "1"]))[2].isneginf().tolist() == [True, False, True]


ATOMS = pd.Series(np.where(np.arange(400) % 3, np.arange(400) / 401, 0.1))
PRECISIONS = {
    "single": ("float64", "float32"),
    "half": ("float64", "float16"),
    "nullable": ("Float64", "Float32"),
    "fitted in single": ("float32", "float64"),
    "fitted in half": ("float16", "float32"),
    "fitted in single, nullable": ("Float32", "float64"),
}


@pytest.mark.parametrize(("fitted", "given"), PRECISIONS.values(), ids=PRECISIONS)
def test_a_copy_in_another_precision_has_the_same_listed_values(fitted, given):
    atom = math.log(134.5 / 401)
    assert float(column_of(ATOMS.astype(fitted)).encode(ATOMS.astype(given)[:1])[2]) == pytest.approx(atom)
    levels = pd.Series([0, 1 / 3, 2 / 3, 1] * 100)
    found = column_of(levels.astype(fitted)).encode(levels.astype(given))[2]
    torch.testing.assert_close(found, torch.full((400,), -math.log(4), dtype=torch.float64))


def test_rounding_finds_no_value_that_is_not_listed():
    column = column_of(ATOMS)
    assert float(column.encode(pd.Series([np.nextafter(0.1, 1)]))[2]) > -0.5  # a density, as it was a double
    near = column.encode(pd.Series([0.1001, 0.0999], dtype="float32"))
    assert bool((near[0] == near[1]).all())
    huge = column_of(pd.Series([1.5e300, 2.5e300, 7.0] * 100)).encode(pd.Series([7.0, 8.0], dtype="float32"))
    assert huge[2].isfinite().tolist() == [True, False]
    close = column_of(pd.Series([0.1, 0.1 + 1e-12, 0.5] * 100))  # the same in single precision
    assert float(close.encode(pd.Series([0.1], dtype="float32"))[2]) == pytest.approx(-math.log(3))


def test_categories_that_are_numbers_may_be_scored_as_numbers():
    cells = pd.Series(pd.Categorical([1.5, 2.5], pd.Index([1.5, 2.5], dtype=object)))
    column = column_of(REALS)
    for found, wanted in zip(column.encode(cells), column.encode(pd.Series([1.5, 2.5])), strict=True):
        assert torch.equal(found, wanted)


def test_zeros_and_ones_are_levels_however_few_rows_there_are():
    assert Kind.of(pd.Series([0.0, 1.0, 1.0, 0.0])).name == "ordinal"
    assert Kind.of(pd.Series([0, 1, 2, 1])).name == "integer"


def test_kinds_can_be_set():
    frame = pd.DataFrame(
        {"zip": [1234, 5678] * 30, "size": np.arange(60) + 1.5, "id": [f"n{i}" for i in range(60)]}
    )
    schema = Schema.of(frame, {"zip": "categorical", "size": "real", "id": "categorical"})
    assert [c.kind.name for c in schema.columns] == ["categorical", "real", "categorical"]
    assert schema.columns[0].values == [1234, 5678]
