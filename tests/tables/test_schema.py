import math

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_flows.tables import Schema


@pytest.fixture
def frame():
    g = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "length": np.where(g.random(200) < 0.2, np.nan, g.normal(size=200)),
            "colour": g.choice(["red", "green"], size=200),
            "always": "yes",
            "count": g.poisson(40, size=200),
        }
    )


def test_constant_columns_take_no_place(frame):
    schema = Schema.of(frame)
    assert schema.names == ["length", "colour", "always", "count"]
    assert schema.varying == [0, 1, 3]
    assert schema.encode(frame).shape == (200, 3, 3)
    assert schema.decode(torch.randn(5, 3))["always"].tolist() == ["yes"] * 5


def test_columns_are_found_by_name(frame):
    schema = Schema.of(frame)
    other = frame[["count", "always", "colour", "length"]].assign(more=1)
    assert torch.equal(schema.encode(other), schema.encode(frame))


def test_what_a_flow_draws_becomes_rows(frame):
    schema = Schema.of(frame)
    drawn = schema.decode(torch.randn(4, 2, 3, 3))  # (lower, upper, log f) of eight rows
    assert drawn.shape == (8, 4)
    assert drawn.dtypes.equals(frame.dtypes)


def test_a_state_is_plain_and_complete(frame, tmp_path):
    schema = Schema.of(frame)
    torch.save(schema.state(), tmp_path / "schema.pt")
    loaded = Schema.of_state(torch.load(tmp_path / "schema.pt", weights_only=True))
    assert torch.equal(loaded.encode(frame), schema.encode(frame))
    assert str(loaded) == str(schema)


def test_kinds_are_printed(frame):
    lines = str(Schema.of(frame)).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["length", "real"],
        ["colour", "categorical"],
        ["always", "categorical"],
        ["count", "integer"],
    ]
    assert "missing: " in lines[0]
    assert "green, red (2)" in lines[1]


def test_impossible_cells_are_counted(frame):
    schema = Schema.of(frame)
    changed = frame.assign(
        colour=["blue", *frame["colour"][1:]], always=["yes", "no", "no", *frame["always"][3:]]
    )
    assert schema.impossible(changed) == {"colour": 1, "always": 2}
    log_f = schema.encode(changed)[:, 2].sum(-1)
    assert log_f[:3].tolist() == [-math.inf] * 3
    assert bool(log_f[3:].isfinite().all())


BAD = {
    "no rows": (lambda f: Schema.of(f[:0]), ValueError, "with rows and columns; got 0 × 4"),
    "no columns": (lambda f: Schema.of(f[[]]), ValueError, "expected a table with rows and columns"),
    "one name twice": (
        lambda f: Schema.of(f.set_axis([*"abca"], axis=1)),
        ValueError,
        "a twice",
    ),
    "one name twice when scoring": (
        lambda f: Schema.of(f).encode(pd.concat([f, f[["count"]] + 100], axis=1)),
        ValueError,
        "one column of each name; got several named count$",
    ),
    "an array": (
        lambda f: Schema.of(f.to_numpy()),
        TypeError,
        r"a table as a pandas\.DataFrame; got numpy\.ndarray$",
    ),
    "a series when scoring": (
        lambda f: Schema.of(f).encode(f["count"]),
        TypeError,
        r"a table as a pandas\.DataFrame; got pandas\.Series$",
    ),
    "a list": (lambda f: Schema.of([1.0, 2.0]), TypeError, "DataFrame; got list$"),
    "one kind": (
        lambda f: Schema.of(f, "real"),
        TypeError,
        "expected kinds as a mapping, such as .*; got 'real'",
    ),
    "kinds of no column": (lambda f: Schema.of(f, {"size": "real"}), ValueError, "expected kinds of columns"),
    "a missing column": (
        lambda f: Schema.of(f).encode(f[["length", "always"]]),
        ValueError,
        "got none named colour, count",
    ),
    "texts for numbers": (
        lambda f: Schema.of(f).encode(f.assign(count="many")),
        TypeError,
        "column count: expected numbers; got texts",
    ),
    "numbers for texts": (
        lambda f: Schema.of(f).encode(f.assign(colour=1)),
        TypeError,
        "column colour: expected texts; got numbers",
    ),
    "numbers for dates": (
        lambda f: Schema.of(f.assign(count=pd.date_range("2020", periods=200))).encode(f),
        TypeError,
        "column count: expected dates; got int64",
    ),
    "too few weights": (
        lambda f: Schema.of(f, weights=np.ones(3)),
        ValueError,
        "a weight ≥ 0 for each of 200",
    ),
    "no weight": (lambda f: Schema.of(f, weights=np.zeros(200)), ValueError, "some of them above 0"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_errors_are_clear(call, error, message, frame):
    with pytest.raises(error, match=message):
        call(frame)


def test_other_columns_may_come_twice(frame):
    schema = Schema.of(frame[["length"]])
    other = pd.concat([frame, frame[["count"]]], axis=1)
    assert torch.equal(schema.encode(other), schema.encode(frame))


@pytest.mark.parametrize("key", ["1", 1, np.int64(1)])
def test_columns_may_have_numbers_for_names(key):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)))
    schema = Schema.of_state(Schema.of(frame.abs() + 1, {key: "positive"}).state())
    assert [column.kind.name for column in schema.columns] == ["real", "positive"]
    assert list(schema.decode(torch.randn(3, 2)).columns) == [0, 1]
    schema = Schema.of(frame)
    assert torch.equal(schema.encode(frame), schema.encode(frame.set_axis(["0", "1"], axis=1)))


LABELS = {
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]),
    "fractions": pd.Index([0.5, 1.5, 2.0]),
    "of several types": pd.Index([0, "a", 2.5], dtype=object),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_columns_come_back_with_their_labels(labels, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=labels)
    schema = Schema.of(frame, {labels[0]: "real"})
    torch.save(schema.state(), tmp_path / "schema.pt")
    loaded = Schema.of_state(torch.load(tmp_path / "schema.pt", weights_only=True))
    pd.testing.assert_index_equal(loaded.decode(torch.randn(2, 3)).columns, labels)
    assert torch.equal(loaded.encode(frame.iloc[:, ::-1]), schema.encode(frame))
