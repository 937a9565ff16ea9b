"""A run killed at any moment and resumed ends with the bits of one that was never interrupted.

Run as a program, this file forks runs of `fit`, kills them with SIGKILL and resumes them: from a
process of one thread, which pytest's may not be.
"""

import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

import pyro_flows as pf
from pyro_flows.loop import checkpoint

from ..cases.images import SmallConvNet


class Noisy(Dataset):
    """Pairs that draw from all three global generators."""

    def __len__(self):
        return 120

    def __getitem__(self, index):
        noise = torch.rand(2) + np.random.rand() + random.random()  # noqa: NPY002
        return DATA[index] + 0.1 * noise, DATA[index, :1]


DATA = torch.randn(120, 2, generator=torch.Generator().manual_seed(5)) * 2 + 1


def net(passive, outputs):
    return nn.Sequential(nn.Linear(passive, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, outputs))


def couplings(norm):
    masks = [torch.tensor([True, False]), torch.tensor([False, True])]
    affine = pf.elementwise.Affine()
    return [
        part
        for mask in masks
        for part in (pf.transforms.Coupling(pf.partitions.Mask(mask), affine, net(1, 2)), norm(2))
    ]


def blurred(flow, x, context):
    return -flow(context).log_prob(x + 0.1 * torch.randn_like(x))


def pixels(norm):
    """Dequantised images, which draw noise at each look."""
    shape, partition = (1, 2, 4), pf.partitions.Checkerboard((1, 2, 4))
    coupling = pf.transforms.Coupling(partition, pf.elementwise.Affine(), SmallConvNet(1, 2))
    normal = pf.transforms.Reshape((8,), shape)
    return [
        normal,
        coupling,
        *([] if norm is None else [norm(1, event_dim=3)]),
        pf.transforms.LogitPixels(levels=17),
        pf.transforms.Dequantize(levels=17),
    ]


IMAGES = torch.randint(0, 17, (120, 1, 2, 4), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
IMAGE_SETTINGS = {"ema": 0.9, "augment": pf.training.random_flips}

CASES = {
    "images": (lambda: pixels(pf.transforms.BatchNorm), IMAGES, IMAGE_SETTINGS),
    "tensor": (lambda: couplings(pf.transforms.BatchNorm), DATA, {"patience": 3, "learning_rate": 0.02}),
    "dataset": (lambda: pf.real_nvp(2, depth=2, hidden=(8,), context_dim=1), Noisy(), {"clip": 0.5}),
    "dropout": (lambda: couplings(pf.transforms.ActNorm), DATA.double().numpy(), {"validation": 0}),
    "loss": (lambda: pf.real_nvp(2, depth=2, hidden=(8,)), DATA, {"loss": blurred}),
    "bf16": (lambda: pf.real_nvp(2, depth=2, hidden=(8,)), DATA, {"precision": "bf16", "batch_size": 50}),
}


def run(case, path, **options):
    transform, data, settings = CASES[case]
    torch.manual_seed(1)
    flow = pf.Flow(transform())
    options = {"epochs": 4, "batch_size": 20, "progress": False, "checkpoint_every": 0} | settings | options
    history = pf.fit(flow, data, checkpoint=path, **options)
    return flow, history


@contextmanager
def kept_checkpoints(folder):
    """Keep a copy of every checkpoint that is written, in the list that is yielded."""
    save, paths = checkpoint.save, []

    def keep(state, path, **options):
        paths.append(folder / f"{len(paths)}")
        save(state, paths[-1], **options)
        save(state, path, **options)

    checkpoint.save = keep
    try:
        yield paths
    finally:
        checkpoint.save = save


def differences(one, two, at=""):
    """List where two saved runs differ, bit for bit, wall-clock seconds aside."""
    if isinstance(one, dict):
        keys = (one.keys() | two.keys()) - {"seconds"}
        return [d for key in keys for d in differences(one.get(key), two.get(key), f"{at}.{key}")]
    if isinstance(one, list | tuple):
        found = [
            d for i, (a, b) in enumerate(zip(one, two, strict=False)) for d in differences(a, b, f"{at}.{i}")
        ]
        return found + ([at] if len(one) != len(two) else [])
    equal = torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
    return [] if equal else [at]


def kill_and_resume(case, moments):
    """Kill the case's run at random moments; print one line for each, `ok` where nothing differs."""
    fork = multiprocessing.get_context("fork")
    moment = random.Random(case)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(case, folder / "warm-up", epochs=1)
        began = time.perf_counter()
        run(case, folder / "whole")
        seconds = time.perf_counter() - began
        whole = torch.load(folder / "whole", weights_only=True)
        for i in range(moments):
            path, kills, wait = folder / f"killed-{i}", 0, seconds * moment.random() * 0.9
            while True:
                process = fork.Process(target=run, args=(case, path))
                process.start()
                process.join(wait if kills < 2 else None)  # twice in the same run, then leave it alone
                if process.exitcode is None:
                    process.kill()
                    process.join()
                    kills += 1
                elif kills:
                    break
                else:  # it was faster than the first run: again, to be killed sooner
                    path.unlink()
                    wait *= 0.7
            resumed = torch.load(path, weights_only=True)
            wrong = differences(whole, resumed)
            print(
                "ok" if not wrong and kills and process.exitcode == 0 else f"{wrong} {process.exitcode}",
                kills,
            )
            assert len(list(folder.glob(f"*killed-{i}*"))) == 1, list(folder.iterdir())


def killed(moments, *cases):
    command = [sys.executable, "-m", "tests.training.test_resume", str(moments), *cases]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == moments * len(cases)
    assert all(line.startswith("ok") for line in lines), lines


def test_kills_at_two_moments():
    killed(2, "tensor", "dataset", "loss")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_kills_at_twenty_moments(case):
    killed(20, case)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("case", CASES)
def test_every_checkpoint_leads_to_the_same_end(case, tmp_path):
    """A kill between any two checkpoints leaves the first of them: try each."""
    with kept_checkpoints(tmp_path) as paths:
        flow, history = run(case, tmp_path / "whole")
    whole = torch.load(tmp_path / "whole", weights_only=True)
    assert len(paths) > history.steps
    for path in paths[:: 9 if case == "tensor" else 14]:
        again, resumed = run(case, path)
        assert not differences(whole, torch.load(path, weights_only=True))
        assert not differences(flow.state_dict(), again.state_dict())
        assert resumed.val_loss == history.val_loss
        assert not again.training


def test_a_finished_run_is_only_loaded(tmp_path):
    flow, history = run("tensor", tmp_path / "run")
    again, resumed = run("tensor", tmp_path / "run")
    assert not differences(flow.state_dict(), again.state_dict())
    assert resumed == history


def test_checkpoints_change_nothing(tmp_path):
    one, _ = run("dataset", tmp_path / "run")
    two, _ = run("dataset", None)
    assert not differences(one.state_dict(), two.state_dict())


def test_a_first_checkpoint_is_written_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pf.training.run.Run, "_train_epoch", lambda self: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        run("tensor", tmp_path / "deep" / "run", checkpoint_every=1e9)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]


def test_a_failed_write_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run("tensor", path)
    before = path.read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save({}, path, kind="training run", version=1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


OTHER = {
    "epochs": ({"epochs": 7}, "expected epochs 4; got 7"),
    "seed": ({"seed": 1}, "expected seed 0; got 1"),
    "batch size": ({"batch_size": 10}, "expected batch_size 20; got 10"),
    "schedule": ({"schedule": lambda progress: 1.0}, "expected schedule"),
    "average": ({"ema": 0.5}, "expected ema 0.0; got 0.5"),
    "augmentation": ({"augment": pf.training.random_flips}, "expected augment None; got random_flips"),
    "held-out rows": ({"validation": 0.2}, "expected training rows 108; got 96"),
}


@pytest.mark.parametrize(("options", "message"), OTHER.values(), ids=OTHER)
def test_another_run_is_refused(options, message, tmp_path):
    run("tensor", tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(ValueError, match=rf"run is of another run: {message}"):
        run("tensor", tmp_path / "run", **options)
    assert (tmp_path / "run").read_bytes() == before


def test_other_data_or_another_flow_is_refused(tmp_path):
    flow = pf.Flow(pf.real_nvp(2, depth=1, hidden=(8,)))
    options = {"checkpoint": tmp_path / "run", "epochs": 1, "progress": False}
    pf.fit(flow, DATA, **options)
    with pytest.raises(ValueError, match="of another run: expected data with the checksum"):
        pf.fit(flow, DATA + 1, **options)
    with pytest.raises(ValueError, match=r"expected .*weight of shape \[8, 1\]; got \[9, 1\]"):
        pf.fit(pf.Flow(pf.real_nvp(2, depth=1, hidden=(9,))), DATA, **options)


ROWS = torch.randn(1500, 2, generator=torch.Generator().manual_seed(6))
GIVEN = {
    "data": ROWS,
    "context": ROWS[:, :1] + 1,
    "weights": torch.linspace(1.0, 2.0, 1500),
    "validation": (ROWS[:50], ROWS[:50, :1] + 1, torch.ones(50)),
}


def last_changed(rows):
    changed = rows.clone()
    changed[-1] += 1
    return changed


def validated(place):
    parts = list(GIVEN["validation"])
    parts[place] = last_changed(parts[place])
    return {"validation": tuple(parts)}


CHANGED = {
    "data": ({"data": last_changed(ROWS)}, "data"),
    "context": ({"context": last_changed(GIVEN["context"])}, "context"),
    "order": ({"context": GIVEN["context"].flip(0)}, "context"),
    "weights": ({"weights": last_changed(GIVEN["weights"])}, "weights"),
    "validation data": (validated(0), "validation data"),
    "validation context": (validated(1), "validation context"),
    "validation weights": (validated(2), "validation weights"),
    "fraction": ({"validation": 50 / 1500}, "training rows 1500"),
}


def given_run(path, **changed):
    torch.manual_seed(1)
    flow = pf.Flow(pf.real_nvp(2, depth=1, hidden=(8,), context_dim=1))
    return pf.fit(flow, **GIVEN | changed, checkpoint=path, epochs=1, progress=False)


def test_everything_given_is_part_of_a_run(tmp_path):
    history = given_run(tmp_path / "run")
    in_bytes = {name: GIVEN[name].numpy().astype("f8") for name in ("data", "context", "weights")}
    assert given_run(tmp_path / "run", **in_bytes) == history  # the same numbers
    for changed, name in CHANGED.values():
        with pytest.raises(ValueError, match=f"of another run: expected {name}"):
            given_run(tmp_path / "run", **changed)


def test_a_data_set_of_tensors_is_part_of_a_run(tmp_path):
    def part(**changed):
        given = GIVEN | changed
        return Subset(TensorDataset(given["data"], given["context"]), range(1400))

    path = tmp_path / "run"
    history = given_run(path, data=part(), context=None, weights=None)
    assert given_run(path, data=part(), context=None, weights=None) == history
    for data in (part(data=-ROWS), part(context=-ROWS[:, :1]), Subset(part(), range(1399, -1, -1))):
        with pytest.raises(ValueError, match="of another run: expected data with the checksum"):
            given_run(path, data=data, context=None, weights=None)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_checkpoint_cut_short_is_refused(keep, tmp_path):
    path = tmp_path / "run"
    run("tensor", path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="run is no readable training run file: it may be cut short"):
        run("tensor", path)


def test_another_kind_of_file_is_refused(tmp_path):
    torch.save({"kind": "model"}, tmp_path / "run")
    with pytest.raises(ValueError, match="run is no training run file of pyro_flows"):
        run("tensor", tmp_path / "run")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:]:
        kill_and_resume(name, int(sys.argv[1]))
