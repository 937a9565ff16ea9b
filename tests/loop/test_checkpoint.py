import numpy as np
import pytest
import torch

from pyro_flows.loop.checkpoint import Checkpoint, load, save


def test_what_was_saved_is_loaded(tmp_path):
    save({"x": torch.arange(3)}, tmp_path / "deep" / "file", kind="model", version=2)
    state = load(tmp_path / "deep" / "file", kind="model", version=2)
    assert state["x"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    state = {"columns": [{"place": np.int64(3)}]}
    with pytest.raises(TypeError, match=r"expected state\['columns'\]\[0\]\['place'\] as .* got int64"):
        save(state, tmp_path / "file", kind="model", version=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(1, "use the pyro_flows that wrote it, or start anew"), (3, "update pyro_flows")],
)
def test_another_format_is_refused(version, remedy, tmp_path):
    path = tmp_path / "file"
    save({}, path, kind="model", version=version)
    with pytest.raises(
        ValueError, match=rf"expected a model file of format 2; got .*file of format {version}: {remedy}"
    ):
        load(path, kind="model", version=2)


def test_a_file_from_before_formats_is_refused(tmp_path):
    torch.save({"kind": "model"}, tmp_path / "file")
    with pytest.raises(ValueError, match="of format 0: use the pyro_flows that wrote it"):
        load(tmp_path / "file", kind="model", version=1)


def test_only_the_same_run_goes_on(tmp_path):
    options = {"kind": "training run", "version": 1, "every": 0.0}
    checkpoint = Checkpoint(tmp_path / "file", **options)
    assert checkpoint.load() is None
    assert checkpoint.is_due
    checkpoint.save(lambda: {"x": 1}, lambda: {"epochs": 3, "rows": 5})
    again = Checkpoint(tmp_path / "file", **options)
    state = again.load()
    assert state["x"] == 1
    again.resume(state, {"epochs": 3, "rows": 5})
    assert again.seconds >= state["seconds"]
    with pytest.raises(ValueError, match="file is of another run: expected rows 5; got 6"):
        again.resume(state, {"epochs": 3, "rows": 6})
    with pytest.raises(ValueError, match="of another run: expected columns None; got 2"):
        again.resume(state, {"epochs": 3, "rows": 5, "columns": 2})


def test_without_a_path_there_is_no_file():
    checkpoint = Checkpoint(None, kind="training run", version=1, every=0.0)
    checkpoint.save(lambda: 1 / 0, lambda: 1 / 0)
    assert checkpoint.load() is None
    assert not checkpoint.is_due
