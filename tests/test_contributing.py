"""CONTRIBUTING.md: its layer obeys the laws, and imports run the way it says."""

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

from .cases.case import Case
from .laws import core, reads, tracing

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = [dedent(block) for block in re.findall(r"```(?:python)?\n(.*?)```", TEXT, re.S)]
LAWS = [*core.LAWS, *reads.LAWS, tracing.functional]


@pytest.fixture(scope="module")
def case():
    namespace = {"__name__": "leaky_slope"}
    (source,) = (block for block in BLOCKS if "class LeakySlope" in block)
    exec(source, namespace)
    return Case(
        "LeakySlope", lambda: namespace["LeakySlope"](3), single=True, outside={"copies": "no module"}
    )


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_layer_obeys_the_laws(law, case):
    if law.__name__ not in case.outside and core.ABOUT.get(law, lambda _: True)(case.build()):
        law(case)


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
