"""Two processes under torchrun agree with one. Run as a program, this file is one of the processes."""

import os
import subprocess
import sys

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils.data import TensorDataset

import pyro_flows as pf

from .test_resume import IMAGES, pixels

pytest.importorskip("accelerate")

DATA = torch.randn(250, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2 + 1
CONTEXT = DATA[:, :1].sin()


def _pixels():
    """Return layers with batch norm inside their nets, on vectors as images of one pixel."""
    couplings = []
    for swap in (False, True):
        channels = pf.partitions.Channels((3, 1, 1), swap=swap)
        net = pf.nn.ConvResidualNet(
            channels.passive_shape, 2 * channels.active_shape[0], width=4, blocks=1, context_dim=1
        )
        couplings.append(pf.transforms.Coupling(channels, pf.elementwise.Affine(), net))
    return [pf.transforms.Reshape((3,), (3, 1, 1)), *couplings, pf.transforms.Reshape((3, 1, 1), (3,))]


def new(norm):
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    options = {"depth": 3, "hidden": (16,), "context_dim": 1}
    parts = _pixels() if norm is pf.nn.ChannelNorm else [*pf.real_nvp(3, norm=norm, **options)]
    flow = pf.Flow([*parts, pf.transforms.BatchNorm(3)])
    torch.set_default_dtype(torch.float32)
    return flow


def new_of_images(norm, whole):
    torch.manual_seed(1)
    parts = pixels(norm)
    if norm is None:  # batch norm inside the nets, too
        parts = [pf.real_nvp_image((1, 2, 4), scales=1, blocks=1, width=4), *parts[-2:]]
    return pf.Flow(parts if whole else parts[:-1]).double()


def fit(norm, path=None, **options):
    """Fit for 24 to 28 steps in 2 epochs, each of them validated; 225 rows are trained on."""
    options = {"epochs": 2, "batch_size": 17, "learning_rate": 5e-3, "progress": False} | options
    pairs, images = options.pop("pairs", False), options.pop("images", "")
    if images:
        flow, given = new_of_images(norm, images == "whole"), {"data": IMAGES + 0.5 * (images != "whole")}
    else:
        flow = new(norm)
        given = {"data": TensorDataset(DATA, CONTEXT)} if pairs else {"data": DATA, "context": CONTEXT}
    history = pf.fit(flow, checkpoint=path, **given, **options)
    return {
        "flow": flow.state_dict(),
        "losses": [history.train_loss, history.val_loss],
        "steps": history.steps,
    }


CASES = {
    "batch norm": {"norm": pf.transforms.BatchNorm, "batch_size": 18},
    "compiled": {"norm": pf.transforms.BatchNorm, "batch_size": 18, "compile": "aot_eager"},
    "act norm": {"norm": pf.transforms.ActNorm, "batch_size": 18},
    "images": {"norm": pf.transforms.BatchNorm, "batch_size": 8, "images": "real", "ema": 0.9},
    "images, Real NVP": {"norm": None, "batch_size": 8, "images": "real"},
    "images, act norm": {"norm": pf.transforms.ActNorm, "batch_size": 8, "images": "real"},
    "batch norm in nets": {"norm": pf.nn.ChannelNorm, "batch_size": 18},
    "last weights": {"norm": pf.transforms.BatchNorm, "batch_size": 18, "validation": 0, "pairs": True},
}
# Each process draws noise of its own here, and has to end with the same weights and statistics all the same.
NOISY = {
    "norm": pf.transforms.BatchNorm,
    "batch_size": 8,
    "images": "whole",
    "ema": 0.9,
    "augment": pf.training.random_flips,
}


def spread(one, two):
    """Return the largest difference between two results."""
    weights = [
        (one["flow"][name] - two["flow"][name]).abs().max()
        for name in one["flow"]
        if one["flow"][name].is_floating_point()
    ]
    losses = [
        abs(torch.tensor(a) - torch.tensor(b)).max()
        for a, b in zip(one["losses"], two["losses"], strict=True)
        if a
    ]
    return float(max(*weights, *losses))


def act(folder):
    """Be one of the processes: fit every case, resume one, be refused another."""
    from pyro_flows.loop import checkpoint

    rank = os.environ["RANK"]
    os.chdir(folder)
    mine = f"rank-{rank}"
    os.mkdir(mine)  # each has its own view of the checkpoint's folder: the first one's counts
    results = {name: fit(**case) for name, case in CASES.items()}
    results["graphs"] = counters["stats"]["unique_graphs"]
    results["noisy"] = fit(**NOISY)
    save, saved = checkpoint.save, []

    def stop(state, path, **options):
        save(state, path, **options)
        saved.append(path)

    checkpoint.save = stop
    whole = fit(**CASES["batch norm"], path=f"{mine}/run", checkpoint_every=0, epochs=1)
    results["resumed"] = fit(**CASES["batch norm"], path=f"{mine}/run", epochs=1)
    results["checkpoints"] = len(saved)
    results["same"] = spread(whole, results["resumed"])
    try:
        fit(pf.transforms.ActNorm, batch_size=17)
    except ValueError as error:
        results["refusal"] = str(error)
    torch.save(results, f"{mine}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "--module", "tests.training.test_distributed", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank-{i}.pt", weights_only=True) for i in range(2)], folder


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_agree_with_one(ranks, case):
    alone = fit(**CASES[case])
    assert alone["steps"] >= 24
    one, two = (rank[case] for rank in ranks[0])
    print(case, spread(alone, one), spread(one, two))
    assert spread(one, two) == 0
    assert spread(alone, one) < 1e-6


def test_two_ranks_compile_one_graph_each(ranks):
    assert [rank["graphs"] for rank in ranks[0]] == [1, 1]


def test_two_ranks_with_noise_of_their_own_end_alike(ranks):
    alone = fit(**NOISY)
    one, two = (rank["noisy"] for rank in ranks[0])
    assert spread(one, two) == 0
    assert 0 < spread(alone, one) < 0.5


def test_the_first_rank_alone_writes_and_reads(ranks):
    results, folder = ranks
    assert results[0]["checkpoints"] > 12
    assert results[1]["checkpoints"] == 0
    assert [p.name for p in (folder / "rank-0").iterdir()] == ["run"]
    assert list((folder / "rank-1").iterdir()) == []
    assert results[0]["same"] == results[1]["same"] == 0


def test_a_batch_that_does_not_divide_is_refused(ranks):
    for rank in ranks[0]:
        assert rank["refusal"] == "expected a batch_size divisible by 2 processes; got 17"


if __name__ == "__main__":
    torch.set_num_threads(1)
    act(sys.argv[1])
