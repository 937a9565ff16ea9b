import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_flows as pf
from pyro_flows.cli import main
from pyro_flows.cli.model import FAMILIES, Model, family

FAST = "--depth 2 --hidden 4 --epochs 2 --batch-size 16"


def rows(count=60, width=3):
    noise = np.random.default_rng(0).normal(size=(count, width))
    return noise * [1000, 1, 0.01, 3][:width] + [5000, 0, 0.5, 1][:width]


def write_csv(path, values=None, names="a,b,c"):
    np.savetxt(path, rows() if values is None else values, delimiter=",", header=names, comments="")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with table.csv and a model of it."""
    folder = tmp_path_factory.mktemp("fitted")
    write_csv(folder / "table.csv")
    assert main(["fit", str(folder / "table.csv"), "--out", str(folder / "model.pt"), *FAST.split()]) == 0
    return folder


@pytest.fixture
def folder(fitted, tmp_path, monkeypatch):
    """A fresh folder with the same two files, in which the test works."""
    for name in ("table.csv", "model.pt"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line):
    return main(shlex.split(line))


def flow_of(path="model.pt"):
    from pyro_flows.cli.model import Model

    return Model.load(str(path)).table.flow


def test_fit_says_what_it_did_and_leaves_one_file(folder, capsys):
    assert call(f"fit table.csv --out new.pt {FAST}") == 0
    said = capsys.readouterr()
    *kinds, result = said.out.splitlines()
    assert [line.split()[:2] for line in kinds] == [["a", "real"], ["b", "real"], ["c", "fraction"]]
    assert re.fullmatch(
        r"new.pt: column_by_column of 3 columns, held-out log-likelihood -?\d+\.\d{4} nats a row after "
        r"6 steps in \d+ s",
        result,
    )
    assert said.err == ""
    assert sorted(p.name for p in folder.iterdir()) == ["model.pt", "new.pt", "table.csv"]
    assert (folder / "new.pt").stat().st_mode & 0o777 == (folder / "table.csv").stat().st_mode & 0o777


def test_equal_seeds_give_equal_models(folder):
    call(f"fit table.csv --out one.pt {FAST} --seed 3")
    call(f"fit table.csv --out two.pt {FAST} --seed 3")
    call(f"fit table.csv --out other.pt {FAST} --seed 4")
    one, two, other = (flow_of(f"{name}.pt").state_dict() for name in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_is_plain_tensors_and_values(folder):
    state = torch.load("model.pt", weights_only=True)
    assert [column["name"] for column in state["table"]["schema"]["columns"]] == ["a", "b", "c"]
    copula = pf.transforms.Linear(pf.matrices.Triangular(3), bias=False)
    flow = pf.Flow([copula, pf.tables.column_by_column(3, **state["options"]), pf.tables.Cells(3)])
    flow.load_state_dict(state["table"]["flow"])
    assert torch.equal(flow().log_prob(torch.ones(1, 3, 3)), flow_of()().log_prob(torch.ones(1, 3, 3)))


def test_the_three_formats_score_alike(folder, capsys):
    np.save("table.npy", rows())
    np.savez("table.npz", x=rows(), y=rows()[:, :1])
    np.savez("single.npz", rows())
    for line in ("table.csv", "table.npy", "table.npz --key x", "single.npz"):
        assert call(f"score model.pt {line} --out {line.split()[0]}.scores.npy") == 0
    scores = [np.load(f"{n}.scores.npy") for n in ("table.csv", "table.npy", "table.npz", "single.npz")]
    assert scores[0].shape == (60, 1)
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-5)


def test_scores_are_in_the_datas_own_units(folder, capsys):
    assert call("score model.pt table.csv --out scores.csv") == 0
    lines = (folder / "scores.csv").read_text().splitlines()
    assert lines[0] == "log_prob"
    scores = np.array(lines[1:], dtype=float)
    data = torch.tensor(rows(), dtype=torch.float32)
    said = capsys.readouterr().out
    assert f"mean log-likelihood {scores.mean():.4f} ±" in said
    gaussian = torch.distributions.MultivariateNormal(data.mean(0).double(), torch.cov(data.T.double()))
    assert abs(scores.mean() - gaussian.log_prob(data.double()).mean()) < 0.5


def test_columns_are_chosen_by_name_or_number(folder, capsys):
    assert call(f"fit table.csv --columns c,0 --out two.pt {FAST}") == 0
    assert Model.load("two.pt").table.schema.names == ["c", "a"]
    for line in ("score two.pt table.csv", "score two.pt table.csv --columns 2,a"):
        capsys.readouterr()
        assert call(line) == 0
        if line.endswith("csv"):
            first = capsys.readouterr().out
    assert capsys.readouterr().out == first  # the model's own columns are found by name


def test_a_table_without_a_header_keeps_its_first_row(folder):
    from pyro_flows.cli.table import Table

    (folder / "bare.csv").write_text("1.5,1.5,3\n4,5,6\n")
    table = Table("bare.csv").read()
    assert table.to_numpy().tolist() == [[1.5, 1.5, 3], [4, 5, 6]]
    assert list(table.columns) == ["0", "1", "2"]


def test_samples_are_rows_of_the_same_columns(folder):
    assert call("sample model.pt -n 500 --seed 1 --out samples.csv") == 0
    assert call("sample model.pt -n 500 --seed 1 --out samples.npy") == 0
    assert (folder / "samples.csv").read_text().startswith("a,b,c\n")
    array = np.load("samples.npy")
    assert array.shape == (500, 3)
    np.testing.assert_allclose(np.loadtxt("samples.csv", delimiter=",", skiprows=1), array, rtol=1e-6)
    np.testing.assert_allclose(array.mean(0) / [1000, 1, 0.01], [5, 0, 50], atol=0.6)


def test_plots_are_written(folder):
    assert call("plot model.pt table.csv --out plot.png") == 0
    assert all((folder / name).stat().st_size > 5000 for name in ("plot.png", "plot-loss.png"))


def test_nice_fits_too(folder):
    assert call(f"fit table.csv --flow nice --out nice.pt {FAST}") == 0
    assert call("score nice.pt table.csv") == 0


def test_a_compiled_fit_says_what_it_cost(folder, capsys, monkeypatch):
    def fit(*args, settings, **options):
        assert settings.compile is True
        return pf.fit(*args, settings=replace(settings, compile="aot_eager"), **options)  # needs no C++

    monkeypatch.setattr(sys.modules["pyro_flows.tables.fit"], "fit_flow", fit)
    assert call(f"fit table.csv --flow real_nvp --out new.pt {FAST} --compile") == 0
    assert re.search(r"after 6 steps in \d+ s, \d+ of them compiling\n$", capsys.readouterr().out)


def test_demo_smoke(folder, capsys):
    pytest.importorskip("statsmodels", reason="the table of the demonstration ships with it")
    threads = torch.get_num_threads()
    assert call("demo --smoke --out pictures") == 0
    torch.set_num_threads(threads)
    assert sorted(p.name for p in (folder / "pictures").iterdir()) == [
        "eight_gaussians.png",
        "table.png",
        "two_moons.png",
    ]
    said = capsys.readouterr().out
    assert said.count("KL(truth ‖ flow)") == 2
    assert "occupation_husb  categorical" in said
    assert "against independent columns'" in said


class Stop(BaseException):
    pass


def stopped(monkeypatch, line, steps):
    """Fit with a checkpoint a step, and stop dead after so many steps."""
    from pyro_flows.loop.checkpoint import Checkpoint
    from pyro_flows.training.run import Run

    real, left = Run._step, [steps]

    def step(self, *batch):
        real(self, *batch)
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", step)
        patch.setattr(Checkpoint, "is_due", True)
        with pytest.raises(Stop):
            call(line)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_stopped_fit_resumes_to_the_same_bits(folder, monkeypatch, steps, capsys):
    stopped(monkeypatch, f"fit table.csv --out new.pt {FAST}", steps)
    assert (folder / "new.pt.run").exists()
    assert not (folder / "new.pt").exists()
    assert call(f"fit table.csv --out new.pt {FAST}") == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert call(f"fit table.csv --out new.pt {FAST} --resume") == 0
    assert not (folder / "new.pt.run").exists()
    one, two = (torch.load(name, weights_only=True) for name in ("model.pt", "new.pt"))
    one, two = one["table"], two["table"]
    assert all(torch.equal(one["flow"][name], two["flow"][name]) for name in one["flow"])
    assert one["history"]["val_loss"] == two["history"]["val_loss"]


def test_resume_starts_where_nothing_was_saved_yet(folder, capsys):
    assert call(f"fit table.csv --out new.pt {FAST} --resume") == 0
    assert capsys.readouterr().err == "new.pt.run: no run to resume: starting one\n"
    before = (folder / "new.pt").read_bytes()
    assert call(f"fit table.csv --out new.pt {FAST} --resume") == 2
    assert "is finished" in capsys.readouterr().err
    assert (folder / "new.pt").read_bytes() == before


def test_killed_with_nine_and_resumed(folder):
    """The whole of it from outside: a process killed by SIGKILL, then another with --resume."""
    line = "fit table.csv --flow real_nvp --depth 2 --hidden 4 --epochs 150 --batch-size 16 --out"
    program = [sys.executable, "-m", "pyro_flows"]
    process = subprocess.Popen([*program, *line.split(), "new.pt"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (folder / "new.pt.run").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "new.pt").exists()
    assert call(f"{line} new.pt --resume") == 0
    assert call(f"{line} whole.pt") == 0
    one, two = flow_of("new.pt").state_dict(), flow_of("whole.pt").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def text(content):
    return lambda folder: (folder / "bad.csv").write_text(content)


def array(values, name="bad.npy"):
    return lambda folder: np.save(folder / name, values)


def table(change, width=3, count=60):
    def make(folder):
        values = rows(count, width)
        change(values)
        write_csv(folder / "bad.csv", values, ",".join("abcd"[:width]))

    return make


def nothing(_):
    pass


def put(row, column, value):
    def change(values):
        values[row, column] = value

    return change


def model(change):
    def make(folder):
        state = torch.load("model.pt", weights_only=True)
        change(state)
        torch.save(state, folder / "bad.pt")

    return make


def cut(length):
    return lambda folder: (folder / "bad.pt").write_bytes((folder / "model.pt").read_bytes()[:length])


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def deeper(state):
    state["options"]["depth"] = 3


def wider(state):
    state["options"]["hidden"] = [5]


FIT, SCORE = f"fit bad.csv --out model.pt {FAST}", "score bad.pt table.csv"
BAD_INPUT = {
    # what is wrong: (what makes it, the command, the message)
    "missing file": (nothing, FIT, "bad.csv: no such file"),
    "a folder": (lambda folder: (folder / "bad.csv").mkdir(), FIT, "bad.csv: is a folder"),
    "empty file": (text(""), FIT, "bad.csv: the file is empty"),
    "header only": (text("a,b,c\n"), FIT, "bad.csv: no rows"),
    "binary": (
        lambda f: (f / "bad.csv").write_bytes(bytes(range(256)) * 9),
        FIT,
        "bad.csv: not a readable table",
    ),
    "ragged rows": (
        text("a,b\n1,2\n1,2,3\n"),
        FIT,
        "bad.csv: row 2 has 3 cells, and the first line 2",
    ),
    "rows longer than the header": (
        text("a,b\n" + "1,2,3\n" * 60),
        FIT,
        "bad.csv: row 1 has 3 cells, and the first line 2",
    ),
    "a row cut short": (
        text("a,b,c\n" + "1,2,3\n" * 60 + "1,2\n"),
        FIT,
        "bad.csv: row 61 has 2 cells, and the first line 3",
    ),
    "infinity": (table(put(slice(3, 5), 0, np.inf)), FIT, "bad.csv: column a: row 4 holds an infinity"),
    "one column for couplings": (
        table(nothing, width=1),
        FIT + " --flow real_nvp",
        "bad.csv: expected input_dim ≥ 2, .*; got 1",
    ),
    "hardly any rows": (
        table(nothing, count=3),
        FIT,
        "expected enough rows to hold out .*; got 3",
    ),
    "constant columns": (table(lambda v: v.fill(7)), FIT, "bad.csv: expected a column that varies"),
    "identifiers": (
        text("id,x\n" + "".join(f"n{i},{i % 7}\n" for i in range(60))),
        FIT,
        "bad.csv: column id: 60 texts, all different, as an identifier has: leave it out",
    ),
    "texts as numbers": (
        text("c,x\n" + "red,1\nblue,2\n" * 30),
        FIT + " --real c",
        "bad.csv: column c: expected numbers for kind real",
    ),
    "kind of no column": (
        nothing,
        f"fit table.csv --real z --out model.pt {FAST}",
        "expected kinds of columns",
    ),
    "nothing left": (nothing, f"fit table.csv --drop a,b,c --out model.pt {FAST}", "no columns are left"),
    "depth of a continuous flow": (
        nothing,
        f"fit table.csv --flow ffjord --out model.pt {FAST}",
        "--depth: ffjord has none",
    ),
    "no archive behind .gz": (
        lambda f: (f / "bad.csv.gz").write_text("a,b\n1,2\n"),
        f"fit bad.csv.gz --out model.pt {FAST}",
        "bad.csv.gz: not a readable table",
    ),
    "no parquet": (
        lambda f: (f / "bad.parquet").write_text("a,b\n1,2\n"),
        f"fit bad.parquet --out model.pt {FAST}",
        "bad.parquet: (not a readable table|parquet files need pyarrow)",
    ),
    "wrong ending": (nothing, f"fit bad.txt --out model.pt {FAST}", "bad.txt: no such file"),
    "another format": (
        nothing,
        f"fit model.pt --out other.pt {FAST}",
        "a file that ends in .csv, ",
    ),
    "unknown column": (
        nothing,
        f"fit table.csv --columns a,z --out model.pt {FAST}",
        "no column z; there are a, b, c",
    ),
    "column number": (nothing, f"fit table.csv --columns 0,3 --out model.pt {FAST}", "no column 3"),
    "column twice": (
        nothing,
        f"fit table.csv --columns a,0 --out model.pt {FAST}",
        "a column is chosen twice",
    ),
    "key of a CSV": (nothing, f"fit table.csv --key x --out model.pt {FAST}", "--key is for .npz files"),
    "one-dimensional array": (
        array(np.ones(60)),
        f"fit bad.npy --out model.pt {FAST}",
        r"rows and columns; got shape \(60,\)",
    ),
    "array of text": (
        array(np.full((60, 2), "a")),
        f"fit bad.npy --out model.pt {FAST}",
        "expected numbers; got an array of",
    ),
    "complex array": (
        array(np.ones((60, 2), complex)),
        f"fit bad.npy --out model.pt {FAST}",
        "array of complex128",
    ),
    "pickled array": (
        lambda f: (f / "bad.npy").write_bytes(pickle.dumps(Evil())),
        f"fit bad.npy --out model.pt {FAST}",
        "bad.npy: not a readable array",
    ),
    "array cut short": (
        lambda f: (
            np.save("bad.npy", rows()),
            (f / "bad.npy").write_bytes((f / "bad.npy").read_bytes()[:300]),
        ),
        f"fit bad.npy --out model.pt {FAST}",
        "bad.npy: not a readable array",
    ),
    "archive of two": (
        lambda f: np.savez("bad.npz", x=rows(), y=rows()),
        f"fit bad.npz --out model.pt {FAST}",
        "bad.npz: holds x, y: choose one with --key",
    ),
    "archive without it": (
        lambda f: np.savez("bad.npz", x=rows()),
        f"fit bad.npz --key z --out model.pt {FAST}",
        "bad.npz: holds no z, only x",
    ),
    "no archive": (
        lambda f: (f / "bad.npz").write_text("no zip"),
        f"fit bad.npz --out model.pt {FAST}",
        "bad.npz: not a readable archive",
    ),
    "no folder to write to": (
        nothing,
        f"fit table.csv --out no/model.pt {FAST}",
        "no/model.pt: no such folder: no",
    ),
    "folder as output": (lambda f: (f / "d").mkdir(), f"fit table.csv --out d {FAST}", "d: is a folder"),
    "no run to resume": (
        nothing,
        f"fit table.csv --out model.pt {FAST} --resume",
        "is finished: no run to resume",
    ),
    "broken run": (
        lambda f: (f / "model.pt.run").write_bytes(b"PK"),
        f"fit table.csv --out model.pt {FAST} --resume",
        "model.pt.run is no readable training run file",
    ),
    "diverging": (
        nothing,
        f"fit table.csv --out model.pt {FAST} --learning-rate 1e30",
        "non-finite .* nothing was saved",
    ),
    "missing model": (nothing, SCORE, "bad.pt: no such file"),
    "empty model": (cut(0), SCORE, "bad.pt is no readable model file: it may be cut short"),
    "model cut short": (cut(2000), SCORE, "bad.pt is no readable model file: it may be cut short"),
    "model cut by a byte": (cut(-1), SCORE, "bad.pt is no readable model file"),
    "text as model": (
        lambda f: (f / "bad.pt").write_text("hello"),
        SCORE,
        "bad.pt is no readable model file",
    ),
    "pickled garbage": (
        lambda f: (f / "bad.pt").write_bytes(pickle.dumps(Evil())),
        SCORE,
        "no readable model file",
    ),
    "pickled code": (lambda f: torch.save(Evil(), f / "bad.pt"), SCORE, "bad.pt is no readable model file"),
    "a bare state dict": (
        lambda f: torch.save(torch.load("model.pt")["table"]["flow"], f / "bad.pt"),
        SCORE,
        "bad.pt is no model file of pyro_flows",
    ),
    "a tensor": (
        lambda f: torch.save(torch.ones(3), f / "bad.pt"),
        SCORE,
        "bad.pt is no model file of pyro_flows",
    ),
    "model of another depth": (model(deeper), SCORE, "bad.pt: not a model of ours: weights of another shape"),
    "model of other widths": (model(wider), SCORE, "bad.pt: not a model of ours: weights of another shape"),
    "model of an unknown family": (model(lambda s: s.update(family="os")), SCORE, "no flow is called os"),
    "model without weights": (model(lambda s: s["table"].pop("flow")), SCORE, "bad.pt: not a model of ours"),
    "unknown option in a model": (
        model(lambda s: s["options"].update(x=1)),
        SCORE,
        "--x: .* has none",
    ),
    "model of an earlier version": (
        model(lambda s: s.update(format=1)),
        SCORE,
        "expected a model file of format 2; got bad.pt of format 1: use the pyro_flows that wrote it",
    ),
    "wrong width at scoring": (
        table(nothing, width=2),
        "score model.pt bad.csv",
        "bad.csv: no column c; the model has a, b, c",
    ),
    "text at scoring": (
        text("a,b,c\n1,2,red\n"),
        "score model.pt bad.csv",
        "bad.csv: column c: expected numbers; got texts",
    ),
    "scores into a model": (
        nothing,
        "score model.pt table.csv --out model.pt",
        "a name that ends in .csv, .*.parquet or .npy",
    ),
    "samples of another format": (
        nothing,
        "sample model.pt --out samples.txt",
        "a name that ends in .csv, .*.parquet or .npy",
    ),
    "samples into no folder": (nothing, "sample model.pt --out no/x.csv", "no/x.csv: no such folder: no"),
    "plot of another format": (
        nothing,
        "plot model.pt table.csv --out plot.xyz",
        "plot.xyz: cannot be written",
    ),
    "plot into no folder": (
        nothing,
        "plot model.pt table.csv --out no/plot.png",
        "no/plot.png: no such folder",
    ),
    "demo into a file": (
        nothing,
        "demo --smoke --out table.csv",
        "table.csv: cannot be written: File exists",
    ),
}


@pytest.mark.parametrize(("make", "line", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_ends_in_one_line(make, line, message, folder, capsys):
    make(folder)
    before = (folder / "model.pt").read_bytes()
    assert call(line) == 2
    said = capsys.readouterr()
    assert "nats" not in said.out  # the columns' kinds at most
    assert re.fullmatch(rf"pyro-flows: .*{message}.*\n", said.err), said.err
    assert (folder / "model.pt").read_bytes() == before
    assert not [p for p in folder.iterdir() if p.name.endswith(".tmp") or p.name == "new.pt"]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (f"fit table.csv --out table.csv {FAST}", "table.csv"),
        (f"fit table.csv --out link.csv {FAST}", "table.csv"),
        (f"fit ./table.csv --out {{}}/table.csv {FAST}", "table.csv"),
        ("score model.pt table.csv --out table.csv", "table.csv"),
        ("score model.pt table.csv --out link.csv", "table.csv"),
        ("score model.csv table.csv --out model.csv", "model.csv"),
        ("sample model.csv --out model.csv", "model.csv"),
        ("sample model.pt --given table.csv --out table.csv", "table.csv"),
        ("plot model.png table.csv --out model.png", "model.png"),
        ("plot plot-loss.png table.csv --out plot.png", "plot-loss.png"),
    ],
)
def test_what_is_read_is_not_written_over(folder, capsys, line, kept):
    for name in ("model.csv", "model.png", "plot-loss.png"):
        (folder / name).write_bytes((folder / "model.pt").read_bytes())
    (folder / "link.csv").symlink_to("table.csv")
    before = (folder / kept).read_bytes()
    assert call(line.format(folder)) == 2
    assert re.fullmatch(
        "pyro-flows: .*: is read from: choose another name for --out\\n", capsys.readouterr().err
    )
    assert (folder / kept).read_bytes() == before


BAD_CALLS = {
    "no command": ("", "required: COMMAND"),
    "unknown command": ("train", "invalid choice: 'train'"),
    "no output": ("fit table.csv", "required: --out"),
    "unknown flow": ("fit table.csv --out x.pt --flow glow", "invalid choice: 'glow'"),
    "text for a number": (
        "fit table.csv --out x.pt --epochs many",
        "--epochs: expected an integer; got 'many'",
    ),
    "half an epoch": ("fit table.csv --out x.pt --epochs 0.5", "--epochs: expected an integer; got '0.5'"),
    "no epochs": ("fit table.csv --out x.pt --epochs 0", "--epochs: expected an integer from 1"),
    "negative batch": (
        "fit table.csv --out x.pt --batch-size -3",
        "--batch-size: expected an integer from 1",
    ),
    "no depth": ("fit table.csv --out x.pt --depth 0", "--depth: expected an integer from 1"),
    "widths": ("fit table.csv --out x.pt --hidden 64,", "--hidden: expected an integer; got ''"),
    "text as rate": (
        "fit table.csv --out x.pt --learning-rate fast",
        "--learning-rate: expected a number above 0",
    ),
    "negative rate": (
        "fit table.csv --out x.pt --learning-rate -1",
        "--learning-rate: expected a number above 0",
    ),
    "NaN rate": (
        "fit table.csv --out x.pt --learning-rate nan",
        "--learning-rate: expected a number above 0",
    ),
    "seed": ("fit table.csv --out x.pt --seed -1", "--seed: expected an integer from 0"),
    "number of samples": ("sample model.pt -n 0 --out x.csv", "--number/-n: expected an integer from 1"),
    "two kinds": ("fit table.csv --out x.pt --real a --integer b,a", "one kind for column a; got two"),
    "unknown option": ("score model.pt table.csv --fast", "unrecognized arguments: --fast"),
}


@pytest.mark.parametrize(("line", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_wrong_call_ends_in_one_line(line, message, capsys):
    with pytest.raises(SystemExit) as stop:
        call(line)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert re.fullmatch(rf"pyro-flows.*: .*{message}.*\n", said.err), said.err


def test_another_table_is_not_resumed(folder, monkeypatch, capsys):
    stopped(monkeypatch, f"fit table.csv --out new.pt {FAST}", 2)
    write_csv("table.csv", rows() + 1)
    assert call(f"fit table.csv --out new.pt {FAST} --resume") == 2
    assert "new.pt.run is of another run: expected data with the checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "samples.npy: so many rows do not fit into memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "samples.npy: so many rows do not fit into memory",
        ),
        (RuntimeError("underflow in dt nan\nat step 3"), "model.pt: sampling failed: underflow in dt nan"),
    ],
)
def test_sampling_that_fails_says_why(folder, monkeypatch, capsys, error, message):
    def sample(*_):
        raise error

    monkeypatch.setattr(pf.FlowDistribution, "sample", sample)
    assert call("sample model.pt -n 1000 --out samples.npy") == 2
    assert capsys.readouterr().err == f"pyro-flows: {message}\n"
    assert not (folder / "samples.npy").exists()


def test_control_c_says_how_to_go_on(folder, monkeypatch, capsys):
    monkeypatch.setattr(pf.training.run.Run, "_step", lambda *_: signal.raise_signal(signal.SIGINT))
    # A shell starts what runs in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert call(f"fit table.csv --out new.pt {FAST}") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "pyro-flows: stopped; a fit goes on with --resume\n"
    assert (folder / "new.pt.run").exists()


def test_a_missing_library_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert call("score model.pt table.csv") == 2
    assert re.fullmatch("pyro-flows: .*pandas.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_offered_can_be_built_saved_and_loaded(name, tmp_path):
    frame = pd.DataFrame(rows(), columns=list("abc"))
    schema = pf.tables.Schema.of(frame)
    model = Model(name, {"hidden": [8, 8]}, pf.tables.TableFlow(schema, family(name, {"hidden": [8, 8]})))
    model.table.flow.eval()
    model.save(str(tmp_path / "model.pt"))
    loaded = Model.load(str(tmp_path / "model.pt"))
    torch.testing.assert_close(loaded.table.log_prob(frame), model.table.log_prob(frame))


@pytest.mark.parametrize("name", ["column_by_column", "maf", "iaf", "naf", "ffjord"])
def test_one_column_is_a_table(folder, name):
    write_csv("one.csv", rows(width=1), "a")
    assert call(f"fit one.csv --flow {name} --hidden 4 --epochs 1 --batch-size 50 --out one.pt") == 0
    assert call("score one.pt one.csv --out scores.csv") == 0
    assert np.isfinite(np.loadtxt("scores.csv", skiprows=1)).all()
