"""Models out of a clone of pyro-ppl/pyro, imported or executed from there; nothing of theirs is copied."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["definitions", "example"]


_CHORALES = "pyro.contrib.examples.polyphonic_data_loader"  # downloads data, and wants torchvision


def example(root: Path, name: str) -> ModuleType:
    """Import ``examples/<name>.py``, with its folder on the path."""
    path = root / "examples" / f"{name}.py"
    for folder in (path.parent, root):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(f"pyro_{name.replace('/', '_')}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        importlib.import_module(_CHORALES)
    except ImportError:
        stand_in = sys.modules[_CHORALES] = ModuleType(_CHORALES)
        importlib.import_module("pyro.contrib.examples").polyphonic_data_loader = stand_in
    spec.loader.exec_module(module)
    logging.getLogger().handlers.clear()  # theirs, that write to standard output
    return module


def definitions(root: Path, notebook: str, *names: str, which: int = 0, **given: Any) -> dict[str, Any]:
    """Execute a notebook's imports and the statements that define `names`, and return the namespace.

    Args:
        root: the clone.
        notebook: file name in ``tutorial/source``, without its ending.
        *names: functions, classes or variables; of those defined several times, number `which`.
        which: counts the definitions of the same name from 0; −1 is the last.
        **given: what the definitions read, data above all.
    """
    cells = json.loads((root / "tutorial" / "source" / f"{notebook}.ipynb").read_text())["cells"]
    statements: list[ast.stmt] = []
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            try:
                statements += ast.parse("\n".join("" if line[:1] in "%!" else line for line in lines)).body
            except SyntaxError:  # not Python
                continue
    namespace: dict[str, Any] = {"__name__": notebook, **given}
    for statement in statements:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            try:
                _execute(statement, namespace)
            except ImportError:  # of plots and the like
                continue
    namespace |= given
    chosen = []
    for name in names:
        found = [place for place, statement in enumerate(statements) if name in _defined(statement)]
        chosen.append(found[which if len(found) > 1 else 0])
    for place in sorted(chosen):
        _execute(statements[place], namespace)
    return namespace


def _execute(statement: ast.stmt, namespace: dict[str, Any]) -> None:
    exec(compile(ast.Module([statement], []), str(namespace["__name__"]), "exec"), namespace)


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()
