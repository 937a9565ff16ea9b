"""Every benchmark finds what it imports from the library; what it measures is not asserted."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def imported(path):
    """Yield the modules of ours that a file imports, with the names it takes from each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyro_flows":
            yield node.module, [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            yield from ((a.name, []) for a in node.names if a.name.split(".")[0] == "pyro_flows")


def attributes(path):
    """Yield the dotted names that a file reads from the package, as in pf.nn.MLP."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "pf":
            yield names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_find_what_they_import(path):
    package = importlib.import_module("pyro_flows")
    for module, names in imported(path):
        found = pytest.importorskip(module) if module == "pyro_flows.sbi" else importlib.import_module(module)
        for name in names:
            assert hasattr(found, name), f"{module} has no {name}"
    for names in attributes(path):
        value = package
        for name in names:
            if not isinstance(value, ModuleType):
                break  # what an object has is not known here
            if value is package and find_spec(f"pyro_flows.{name}"):
                importlib.import_module(f"pyro_flows.{name}")
            assert hasattr(value, name), f"pf.{'.'.join(names)} does not exist"
            value = getattr(value, name)
