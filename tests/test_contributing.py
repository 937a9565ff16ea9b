"""CONTRIBUTING.md: its layer obeys the laws, and imports run the way it says."""

import ast
import re
import sys
import types
from pathlib import Path
from textwrap import dedent

import pytest

import pyro_flows as pf

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = [dedent(block) for block in re.findall(r"```(?:python)?\n(.*?)```", TEXT, re.S)]
SLOW = {"compiled_training", "compiled_sampling", "prior_under_nuts"}


@pytest.fixture
def layer(monkeypatch):
    (source,) = (block for block in BLOCKS if "class LeakySlope" in block)
    module = types.ModuleType("leaky_slope")
    monkeypatch.setitem(sys.modules, "leaky_slope", module)
    exec(source, module.__dict__)
    return module.LeakySlope(3)


def test_the_layer_obeys_the_laws(layer):
    pf.testing.check_transform(layer, laws=[law for law in pf.testing.LAWS if law not in SLOW])


@pytest.mark.slow
def test_the_layer_obeys_the_slow_laws(layer):
    pf.testing.check_transform(layer, laws=sorted(SLOW))


def _imported(file: Path, package: Path) -> set[str]:
    """The package's parts that a file imports when it is run."""
    parts = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*file.relative_to(package).parts][: -node.level]
            path = [*base, *(node.module.split(".") if node.module else [])]
            parts |= {path[0]} if path else {alias.name for alias in node.names}
    return parts


def test_imports_run_downwards():
    (block,) = (block for block in BLOCKS if block.startswith("elementwise"))
    level = {name: i for i, line in enumerate(block.splitlines()) for name in line.split()}
    package = ROOT / "pyro_flows"
    public = {
        p.stem for p in package.iterdir() if p.suffix in ("", ".py") and not p.name.startswith(("_", "py."))
    }
    assert set(level) == public
    for file in package.rglob("*.py"):
        mine = file.relative_to(package).parts[0].removesuffix(".py")
        for part in _imported(file, package) if mine in level else ():
            own = part == mine
            assert own or part not in level or level[part] < level[mine], f"{file.name} imports {part}"
