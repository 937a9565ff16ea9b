"""Every notebook runs, and is stored with the outputs of a full run."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="running the tutorials needs nbformat")
nbclient = pytest.importorskip("nbclient", reason="running the tutorials needs nbclient")
pytest.importorskip("ipykernel", reason="running the tutorials needs ipykernel")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows: the streams it writes to, and the forms of each thing it displays."""
    # On a new machine libraries talk on stderr, as matplotlib does of its font cache.
    streams = {output.name for output in cell.outputs if output.output_type == "stream"} - {"stderr"}
    return sorted(streams), [sorted(output.data) for output in cell.outputs if "data" in output]


def test_there_is_a_notebook():
    assert NOTEBOOKS


@every_notebook
def test_runs_and_shows_what_is_stored(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_FLOWS_SMOKE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for folder in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder.lower()))  # not the user's own
    notebook = nbformat.read(path, as_version=4)
    stored = [kinds(cell) for cell in code_cells(notebook)]
    # Raises where a cell fails. Outputs are those of this run: each cell's are emptied when it starts.
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert [kinds(cell) for cell in code_cells(notebook)] == stored


@every_notebook
def test_is_stored_as_one_full_run_left_it(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "smoke test" not in str(outputs)
    assert path.stat().st_size < 1_500_000
