"""Every block of code in docs/ runs, with fewer rows and steps, and the reference has every public module."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyro_flows as pf
from pyro_flows.cli import main

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FEWER = {
    "10_000": "500",
    "range(2000)": "range(3)",
    "range(1000)": "range(3)",
    "range(4)": "range(2)",
    "epochs=100": "epochs=1",
    "epochs=50": "epochs=1",
    "num_simulations=100": "num_simulations=9",
    "check_transform(LeakySlope(3))": "check_transform(LeakySlope(3), laws=['round_trip', 'shapes'])",
}

PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"generated", "_build"} & set(path.parts))
BLOCKS = {path: FENCE.findall(path.read_text(encoding="utf-8")) for path in PAGES}
with_code = [path for path, blocks in BLOCKS.items() if any(kind in ("python", "diff") for kind, _ in blocks)]


def with_options(function, fewer):
    return lambda *args, **options: function(*args, **options | fewer)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Fit for one epoch or two steps, weigh 200 draws, in a folder of its own."""
    epochs, steps = {"epochs": 1, "progress": False}, {"steps": 2, "progress": False}
    fits = [(pf, "fit", epochs), (pf, "fit_ensemble", epochs), (pf.tables, "fit", epochs)]
    chains = {"num_samples": 4, "warmup_steps": 2, "thinning": 1, "progress": False}
    others = [("fit_vi", steps), ("importance", {"num_samples": 200}), ("flow_mcmc", chains)]
    for module, name, fewer in [*fits, *((pf.infer, *other) for other in others)]:
        monkeypatch.setattr(module, name, with_options(getattr(module, name), fewer))
    monkeypatch.chdir(tmp_path)


def versions(kind, block):
    """Yield a block as it is, or a change before and after."""
    if kind == "python":
        yield block
    elif kind == "diff":
        lines = block.splitlines()
        for sign in "-+":
            yield "\n".join(line[1:] for line in lines if line[:1] in (" ", sign))


def test_there_are_pages():
    assert len(with_code) >= 15
    assert {kind for blocks in BLOCKS.values() for kind, _ in blocks} <= {"python", "diff", "sh"}


@pytest.mark.filterwarnings("ignore:the chains have not mixed")  # so few steps cannot
@pytest.mark.parametrize(
    "path", with_code, ids=lambda path: path.relative_to(DOCS).with_suffix("").as_posix()
)
def test_blocks_run(path, quick):
    names = {}
    for i, (kind, block) in enumerate(BLOCKS[path]):
        for code in versions(kind, block):
            for number, fewer in FEWER.items():
                code = code.replace(number, fewer)
            exec(compile(code, f"{path.name}, block {i}", "exec"), names)


def test_shell_lines_run(quick, capsys):
    lines = [
        line
        for blocks in BLOCKS.values()
        for kind, block in blocks
        if kind == "sh"
        for line in block.splitlines()
    ]
    ours = [
        line.removeprefix("python -m pyro_flows ")
        for line in lines
        if line.startswith("python -m pyro_flows ")
    ]
    others = [line for line in lines if not line.startswith("python -m pyro_flows ")]
    assert all(
        line.startswith(("pip install", "torchrun", "python benchmarks/chooser.py")) for line in others
    )
    rng = np.random.default_rng(0)
    for name, count in (("table", 400), ("new_rows", 20)):
        np.savetxt(f"{name}.csv", rng.normal(size=(count, 3)), delimiter=",", header="a,b,c", comments="")
    assert [line.split()[0] for line in ours] == ["fit", "score", "sample", "plot"]
    for line in ours:
        fewer = ["--epochs", "1"] if line.startswith("fit") else []
        assert main([*shlex.split(line), *fewer]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_the_program_for_several_processes_runs(tmp_path):
    pytest.importorskip("accelerate")
    blocks = BLOCKS[DOCS / "how_to" / "several_gpus.md"]
    (program,) = (block for kind, block in blocks if kind == "python" and block.startswith("# train.py"))
    (line,) = (block for kind, block in blocks if kind == "sh")
    (tmp_path / "train.py").write_text(program.replace("seed=0,", "seed=0, epochs=2,"))
    _, *arguments = shlex.split(line)
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
    assert (tmp_path / "train.pt").exists()


def test_the_reference_lists_every_public_module():
    text = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (pyro_flows[.\w]*)$", text, re.MULTILINE)
    modules = [f"pyro_flows.{name}" for name in pf.__all__ if inspect.ismodule(getattr(pf, name))]
    assert sorted(listed) == sorted(["pyro_flows", "pyro_flows.sbi", "pyro_flows.sklearn", *modules])


def test_measured_tables_are_whole():
    text = (DOCS / "which_flow.md").read_text(encoding="utf-8")
    tables = re.findall(r"^```{include} (which_flow/\w+\.md)$", text, re.MULTILINE)
    assert sorted(tables) == sorted(f"which_flow/{path.name}" for path in (DOCS / "which_flow").iterdir())
    for table in tables:
        rows = [
            line for line in (DOCS / table).read_text(encoding="utf-8").splitlines() if line.startswith("|")
        ]
        assert len(rows) >= 2 + 4
        assert len({row.count("|") for row in rows}) == 1
