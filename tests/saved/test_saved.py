"""Files written by earlier versions are read, or refused by one line that says what to do.

A failure here means that the format of a kind of file has changed: give it a new number, and see `make.py`.
"""

import shutil

import pyro
import pytest
import torch

from pyro_flows.loop import checkpoint

from . import make

HERE = make.HERE


@pytest.fixture(scope="module")
def expected():
    return torch.load(HERE / "expected", weights_only=True)


def near(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_files_are_small():
    for path in HERE.iterdir():
        if path.is_file() and path.suffix != ".py":
            assert path.stat().st_size < 64 * 1024, path.name


def test_a_flows_state(expected):
    flow = make.flow().eval()
    flow.load_state_dict(torch.load(HERE / "flow", weights_only=True))
    with torch.no_grad():
        near(flow().log_prob(make.DATA), expected["flow"])


def test_a_guides_state(expected):
    guide = make.guide()
    guide.load_state_dict(torch.load(HERE / "guide", weights_only=True))
    with torch.no_grad():
        near(guide.log_prob({"x": make.DATA}), expected["guide"])
    assert guide.sample_posterior(5000)["x"].mean().item() == pytest.approx(2.4, abs=0.1)


def test_a_parameter_store(expected):
    store = pyro.get_param_store()
    with torch.serialization.safe_globals([torch.distributions.constraints._Real]):
        store.load(str(HERE / "param_store"))
    with torch.no_grad():
        near(make.guide("saved").log_prob({"x": make.DATA}), expected["guide"])


def test_a_model_of_the_command_line(expected):
    pd = pytest.importorskip("pandas")
    from pyro_flows.cli.model import Model

    table = Model.load(str(HERE / "model")).table
    with torch.no_grad():
        near(table.log_prob(pd.DataFrame(make.ROWS, columns=["a", "b"])), expected["model"])


def test_a_run_of_fit_goes_on(expected, tmp_path):
    shutil.copy(HERE / "training_run", tmp_path / "run")
    before = torch.load(tmp_path / "run", weights_only=True)["history"]["steps"]
    flow, history = make.training_run(tmp_path / "run")
    assert before == 4 < history.steps == 9
    with torch.no_grad():
        near(flow().log_prob(make.DATA), expected["flow"])


def test_a_run_of_fit_vi_goes_on(expected, tmp_path):
    shutil.copy(HERE / "variational_run", tmp_path / "run")
    before = torch.load(tmp_path / "run", weights_only=True)["history"]["steps"]
    guide, history = make.variational_run(tmp_path / "run")
    assert before == 100 < history.steps == 101
    with torch.no_grad():
        near(guide.log_prob({"x": make.DATA}), expected["guide"])


@pytest.mark.parametrize("name", ["training_run", "variational_run", "model"])
def test_another_format_is_refused(name, tmp_path):
    state = torch.load(HERE / name, weights_only=True)
    state["format"] -= 1
    torch.save(state, tmp_path / "old")
    options = {"kind": state["kind"], "version": state["format"] + 1}
    with pytest.raises(ValueError, match="use the pyro_flows that wrote it, or start anew"):
        checkpoint.load(tmp_path / "old", **options)
    state["format"] += 2
    torch.save(state, tmp_path / "new")
    with pytest.raises(ValueError, match="update pyro_flows"):
        checkpoint.load(tmp_path / "new", **options)
    run = {"training_run": make.training_run, "variational_run": make.variational_run}.get(name)
    if run is not None:
        with pytest.raises(ValueError, match="update pyro_flows"):
            run(tmp_path / "new")
