"""What the README shows runs as it stands, but for fewer rows and steps."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_flows as pf
from pyro_flows.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINES = re.findall(r"^python -m pyro_flows (.*?)(?:\s+#.*)?$", README, re.MULTILINE)
FEWER = {"10_000": "500", "range(1000)": "range(3)", "epochs=80": "epochs=1", "epochs=20": "epochs=1"}


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Fit for one epoch, in a folder of its own."""
    fit = pf.fit
    monkeypatch.setattr(
        pf, "fit", lambda *args, **options: fit(*args, **{"epochs": 1, "progress": False} | options)
    )
    few = pf.infer.VISettings(steps=2, progress=False)
    fit_vi = pf.infer.fit_vi
    monkeypatch.setattr(pf.infer, "fit_vi", lambda *args: fit_vi(*args, settings=few))
    monkeypatch.chdir(tmp_path)


def test_python_blocks(quick, capsys):
    assert len(BLOCKS) == 7
    for number in FEWER:
        assert any(number in block for block in BLOCKS), f"the README no longer says {number}"
    names = {}
    for i, block in enumerate(BLOCKS):
        for number, fewer in FEWER.items():
            block = block.replace(number, fewer)
        exec(compile(block, f"README block {i}", "exec"), names)
    printed = capsys.readouterr().out
    assert re.match(r"KL -?\d+\.\d{4} nats, best epoch \d\nsize +real .*?\nVerdict: \w+", printed, re.DOTALL)
    assert re.search(r"\nelpd .*\ntensor\(\d+\.\d+, dtype", printed)
    assert names["samples"].shape == (1000, 2)
    assert len(names["losses"]) == 3
    assert names["figure"].axes[0].images
    assert names["chain"](torch.randn(5, 4)).shape == (5, 4)
    flow = pf.Flow(pf.real_nvp(2, depth=12))
    flow.load_state_dict(torch.load("moons.pt", weights_only=True))


def test_shell_lines(quick, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("table", 400), ("new_rows", 20)):
        np.savetxt(f"{name}.csv", rng.normal(size=(count, 3)), delimiter=",", header="a,b,c", comments="")
    assert [line.split()[0] for line in LINES] == ["fit", "score", "sample", "plot"]
    for line in LINES:
        fewer = ["--epochs", "1", "--depth", "2"] if line.startswith("fit") else []
        assert main([*shlex.split(line), *fewer]) == 0, capsys.readouterr().err
    assert {p.name for p in Path.cwd().iterdir()} >= {"model.pt", "samples.csv", "plot.png"}


def test_every_name_exists():
    for name in set(re.findall(r"`pf\.([a-z_.]+[A-Za-z_]*)`", README)):
        value = pf
        for part in name.split("."):
            value = getattr(value, part)
