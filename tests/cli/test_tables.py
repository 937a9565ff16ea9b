"""Tables of every kind on the command line."""

import gzip
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_flows.cli.model import Model
from pyro_flows.cli.table import Table

from .test_cli import FAST, call


def mixed(count=80):
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": g.normal(170, 10, size=count).round(3),
            "colour": g.choice(["red", "green, dark"], size=count),
            "visits": g.poisson(30, size=count),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(g.integers(0, 300, count), unit="D"),
            "member": g.random(count) < 0.4,
        }
    )
    frame.loc[::9, "size"] = np.nan
    return frame


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    mixed().to_csv(folder / "table.csv", index=False)
    assert call(f"fit {folder}/table.csv --out {folder}/model.pt {FAST}") == 0
    return folder


@pytest.fixture
def folder(fitted, tmp_path, monkeypatch):
    for name in ("table.csv", "model.pt"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRITERS = {
    "table.csv": lambda frame, path: frame.to_csv(path, index=False),
    "table.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "table.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "decimal-commas.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";", decimal=","),
}


@pytest.mark.parametrize("name", WRITERS)
def test_tables_are_read_as_they_come(name, tmp_path):
    WRITERS[name](mixed(), tmp_path / name)
    table = Table(str(tmp_path / name)).read().astype({"day": "datetime64[us]", "colour": object})
    pd.testing.assert_frame_equal(table, mixed().astype({"day": "datetime64[us]", "colour": object}))


def test_parquet_without_pyarrow(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    assert call(f"fit table.parquet --out model.pt {FAST}") == 2
    assert "parquet files need pyarrow: pip install pyarrow\n" in capsys.readouterr().err


def test_parquet_keeps_types(folder):
    pytest.importorskip("pyarrow")
    frame = mixed().astype({"colour": "category", "visits": "Int64"})
    frame.loc[3, "visits"] = pd.NA
    frame.to_parquet("table.parquet", index=False)
    pd.testing.assert_frame_equal(Table("table.parquet").read(), frame)
    assert call(f"fit table.parquet --out new.pt {FAST}") == 0
    assert call("score new.pt table.parquet --out scores.parquet") == 0
    assert np.isfinite(Table("scores.parquet").read()["log_prob"]).all()
    assert call("sample new.pt -n 200 --out samples.parquet") == 0
    assert Table("samples.parquet").read().dtypes.astype(str).tolist() == frame.dtypes.astype(str).tolist()


def test_kinds_are_printed_and_can_be_set(folder, capsys):
    assert call(f"fit table.csv --positive size --categorical visits --drop day --out new.pt {FAST}") == 0
    kinds = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[:-1])
    assert kinds == {
        "size": "positive",
        "colour": "categorical",
        "visits": "categorical",
        "member": "boolean",
    }


def test_samples_are_rows_of_the_same_columns_and_types(folder):
    for name in ("samples.csv", "samples.tsv", "samples.csv.gz"):
        assert call(f"sample model.pt -n 200 --out {name}") == 0
    samples = Table("samples.csv").read()
    assert list(samples) == list(mixed())
    assert set(samples["colour"]) <= {"red", "green, dark"}
    assert samples["visits"].dtype == np.int64
    assert samples["member"].dtype == bool
    assert 0 < samples["size"].isna().sum() < 100
    assert pd.to_datetime(samples["day"]).dt.year.between(2023, 2025).all()
    for name in ("samples.tsv", "samples.csv.gz"):
        pd.testing.assert_frame_equal(Table(name).read(), samples)


def test_many_samples_are_written_part_by_part(folder, monkeypatch):
    monkeypatch.setattr(sys.modules["pyro_flows.cli.main"], "ROWS_AT_ONCE", 64)
    for name in ("samples.csv", "samples.csv.gz"):
        assert call(f"sample model.pt -n 150 --out {name}") == 0
        assert len(Table(name).read()) == 150
    with gzip.open("samples.csv.gz", "rt") as file:
        assert sum(line.startswith("size,") for line in file) == 1


def test_long_tables_are_scored_part_by_part(folder, monkeypatch):
    assert call("score model.pt table.csv --out whole.csv --draws 400") == 0
    monkeypatch.setattr(sys.modules["pyro_flows.cli.main"], "ROWS_AT_ONCE", 30)
    assert [len(part) for part in Table("table.csv").parts(30)] == [30, 30, 20]
    assert call("score model.pt table.csv --out parts.csv --draws 400") == 0
    whole, parts = (pd.read_csv(name)["log_prob"] for name in ("whole.csv", "parts.csv"))
    np.testing.assert_allclose(parts, whole, atol=0.5)  # other draws


def test_the_first_rows_only(folder):
    assert call("score model.pt table.csv --rows 7 --out few.csv") == 0
    assert len(pd.read_csv("few.csv")) == 7


def test_scores_of_what_cannot_occur(folder, capsys):
    odd = mixed()[["member", "day", "visits", "colour", "size"]]  # in another order
    odd.loc[2, "colour"] = "violet"
    odd.to_csv("odd.csv", index=False)
    assert call("score model.pt odd.csv --out scores.csv") == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"pyro-flows: 1 rows hold cells .*; by column: colour \(1\)\n", said.err)
    assert "over 79 rows" in said.out
    scores = pd.read_csv("scores.csv")["log_prob"]
    assert np.flatnonzero(np.isinf(scores)).tolist() == [2]


def test_texts_that_look_like_numbers_stay_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codes = np.random.default_rng(0).choice(["01", "2", "x"], size=80)
    pd.DataFrame({"code": codes, "n": np.arange(80)}).to_csv("table.csv", index=False)
    assert call(f"fit table.csv --out model.pt {FAST}") == 0
    (tmp_path / "new.csv").write_text("code,n\n01,3\n2,4\n")
    assert call("score model.pt new.csv --out scores.csv") == 0
    assert np.isfinite(pd.read_csv("scores.csv")["log_prob"]).all()


def test_texts_cannot_be_written_as_an_array(folder, capsys):
    assert call("sample model.pt -n 5 --out samples.npy") == 2
    assert "samples.npy: column colour holds no numbers" in capsys.readouterr().err


def test_plots_of_mixed_tables(folder):
    assert call("plot model.pt table.csv --out plot.png") == 0
    assert all((folder / name).stat().st_size > 5000 for name in ("plot.png", "plot-loss.png"))


def test_gaps_constants_absurd_and_far_off_numbers_are_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": g.normal(size=80), "b": 1e9 + g.normal(size=80), "c": 7, "d": g.normal(size=80)}
    )
    frame.loc[3, "a"], frame.loc[5, "d"] = 1e300, np.nan
    frame.to_csv("table.csv", index=False)
    assert call(f"fit table.csv --out model.pt {FAST}") == 0
    scores = Model.load("model.pt").table.log_prob(frame)
    assert bool(scores.isfinite().all())
    assert int(scores.argmin()) == 3
    drawn = Model.load("model.pt").table.sample(100)
    assert 0.3 < (drawn["b"] - 1e9).std() < 3


def test_a_flow_given_some_columns(folder, capsys):
    assert call(f"fit table.csv --context colour,size --out given.pt {FAST}") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:5]] == [
        "visits",
        "day",
        "member",
        "size",
        "colour",
    ]
    assert call("score given.pt table.csv --out scores.csv") == 0
    assert np.isfinite(pd.read_csv("scores.csv")["log_prob"]).all()
    mixed()[["colour", "size"]][:7].to_csv("given.csv", index=False)
    assert call("sample given.pt --given given.csv --out samples.csv") == 0
    samples = Table("samples.csv").read()
    assert list(samples) == ["size", "colour", "visits", "day", "member"]
    assert samples["colour"].tolist() == mixed()["colour"][:7].tolist()
    assert call("plot given.pt table.csv --out plot.png") == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample model.pt --given table.csv --out x.csv", "model.pt: expected --number and no other"),
        ("sample given.pt -n 3 --out x.csv", "given.pt: expected --given, for colour and no other"),
        (
            "sample given.pt --given other.csv --out x.csv",
            "other.csv: column colour: row 2 holds 'violet', which cannot",
        ),
        (
            "fit table.csv --context z --out x.pt",
            "table.csv: expected context among the columns size, colour",
        ),
    ],
)
def test_contexts_that_do_not_fit(folder, capsys, line, message):
    assert call(f"fit table.csv --context colour --out given.pt {FAST}") == 0
    (folder / "other.csv").write_text("colour\nred\nviolet\n")
    capsys.readouterr()
    assert call(line) == 2
    assert re.fullmatch(f"pyro-flows: {message}.*\n", capsys.readouterr().err)


def scores_of(line):
    assert call(f"score {line} --out scores.csv --draws 1") == 0
    return pd.read_csv("scores.csv")["log_prob"].to_numpy()


def three(count=80):
    g = np.random.default_rng(0)
    a = g.normal(size=count)
    return pd.DataFrame({"a": a, "b": 100 + a + 0.1 * g.normal(size=count), "c": 1e-3 * g.normal(size=count)})


def test_columns_without_names_are_told_by_their_places_in_the_file(tmp_path, monkeypatch, capsys):
    """A context's columns come first in the model, but not in its file."""
    monkeypatch.chdir(tmp_path)
    three().to_csv("named.csv", index=False)
    three().to_csv("bare.csv", index=False, header=False)
    three().set_axis(list("uvw"), axis=1).to_csv("other.csv", index=False)
    np.save("table.npy", three().to_numpy())
    assert call(f"fit named.csv --context c --out model.pt {FAST}") == 0
    truth = scores_of("model.pt named.csv")
    capsys.readouterr()
    for line in ("bare.csv", "table.npy", "other.csv --columns u,v,w", "named.csv --columns c,b,a"):
        np.testing.assert_array_equal(scores_of(f"model.pt {line}"), truth)
        by_place = "columns 0, 1, 2 are taken for a, b, c, in this order\n"
        assert capsys.readouterr().err.endswith(
            {"o": by_place.replace("0, 1, 2", "u, v, w"), "n": ""}.get(line[0], by_place)
        )
    assert call("score model.pt other.csv") == 2
    assert "other.csv: no column a; the model has a, b, c\n" in capsys.readouterr().err
    three()[["c"]].to_csv("given.csv", index=False, header=False)
    assert call("sample model.pt --given given.csv --out samples.csv") == 0
    assert Table("samples.csv").read()["c"].tolist() == three()["c"].tolist()


def test_a_model_that_does_not_know_its_files_order_asks_for_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    three().to_csv("named.csv", index=False)
    three().to_csv("bare.csv", index=False, header=False)
    assert call(f"fit named.csv --context c --out model.pt {FAST}") == 0
    state = torch.load("model.pt", weights_only=True)
    del state["columns"], state["commas"]  # as in files from before these were kept
    torch.save(state, "model.pt")
    assert np.isfinite(scores_of("model.pt named.csv")).all()
    assert call("score model.pt bare.csv") == 2
    assert "bare.csv: no column c; the model has c, a, b\n" in capsys.readouterr().err


def test_samples_are_read_as_what_they_are(tmp_path, monkeypatch, capsys):
    """Unnamed columns, reals with all their digits, repeated thirds, long whole numbers with gaps."""
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    thirds = g.integers(0, 4, size=100) / 3
    np.save("a.npy", np.stack([thirds, g.normal(size=100), 1.7e9 + g.integers(0, 1000, 100)], 1))
    np.save("b.npy", np.stack([thirds, g.normal(size=100)], 1).astype(np.float32))
    stamps = pd.Series(1_700_000_248_070_123_457 + g.integers(0, 10**6, 100), dtype="Int64")
    pd.DataFrame({"t": stamps.where(g.random(100) < 0.9), "x": thirds}).to_csv("c.csv", index=False)
    for data in ("a.npy", "b.npy", "c.csv"):
        assert call(f"fit {data} --out model.pt {FAST}") == 0
        assert call("sample model.pt -n 50 --out samples.csv") == 0
        drawn = Model.load("model.pt").table
        capsys.readouterr()
        assert np.isfinite(scores_of("model.pt samples.csv")).all()
        said = capsys.readouterr()
        assert "over 50 rows" in said.out
        assert said.err == ""
        torch.manual_seed(0)
        frame, read = drawn.sample(50), Table("samples.csv").read()
        pd.testing.assert_frame_equal(read, frame.astype(read.dtypes.to_dict()), check_exact=True)
    assert len(read["t"].dropna().unique()) > 40
    assert call("sample model.pt -n 50 --out samples.npy") == 2
    assert "column t holds whole numbers beyond 2⁵³" in capsys.readouterr().err


def test_a_model_remembers_its_decimal_commas_and_texts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"x": g.normal(size=80).round(4), "zip": g.choice(["01234", "10001"], size=80)})
    frame.to_csv("table.tsv", index=False, sep="\t", decimal=",")
    assert call(f"fit table.tsv --out model.pt {FAST}") == 0
    said = capsys.readouterr()
    assert "x    real" in said.out
    assert "zip  categorical  01234, 10001 (2)" in said.out
    (tmp_path / "new.tsv").write_text("x\tzip\n1,234\t01234\n")
    (tmp_path / "same.csv").write_text("x,zip\n1.234,01234\n")
    (tmp_path / "later.csv").write_text("x;zip\n" + "1;10001\n" * 1200 + "1,234;01234\n")
    one, two, three = (scores_of(f"model.pt {name}") for name in ("new.tsv", "same.csv", "later.csv"))
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, two)
    assert len(three) == 1201
    assert np.isfinite(three).all()
    assert capsys.readouterr().err == ""


def test_scores_stay_beside_their_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = ["" if i % 10 == 3 else f"{x:.4f}" for i, x in enumerate(three()["a"])]
    (tmp_path / "one.csv").write_text("\n".join(["a", *cells]) + "\n")
    assert call(f"fit one.csv --out model.pt {FAST}") == 0
    scores = scores_of("model.pt one.csv")
    gaps = np.array([cell == "" for cell in cells])
    assert len(scores) == 80
    assert np.ptp(scores[gaps]) < 0.1  # all of a gap, up to one draw's noise
    np.testing.assert_allclose(scores[gaps].mean(), np.log(gaps.mean()), atol=0.5)


def test_long_cells_are_no_obstacle(folder):
    frame = mixed().assign(outline="POLYGON " * 20_000)
    frame.to_csv("long.csv", index=False)
    assert call("score model.pt long.csv --rows 3") == 0


def test_header_can_be_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).poisson(30, size=(60, 2))
    np.savetxt("table.csv", counts, fmt="%d", delimiter=",")
    for option, rows in (("", 60), ("--no-header", 60), ("--header", 59)):
        assert call(f"fit table.csv --out model.pt {FAST} {option}") == 0
        assert ("is taken for a row: --header" in capsys.readouterr().err) == (option == "")
        assert call(f"score model.pt table.csv {option}") == 0
        assert f"over {rows} rows" in capsys.readouterr().out
