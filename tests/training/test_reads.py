"""`fit` reads the device at most once in 50 steps, and in between not at all."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows.testing.reads import Reads

DATA = torch.randn(60 * 8, 2, generator=torch.Generator().manual_seed(5))


def test_what_counts_as_a_read():
    x, mask = torch.randn(3), torch.tensor([True, False, True])
    reading = {
        "item": lambda: x[0].item(),
        "bool": lambda: bool(x[0] > 0),
        "mask": lambda: x[mask],
        "assigned by a mask": lambda: x.clone().__setitem__(mask, torch.ones(2)),
        "nonzero": lambda: mask.nonzero(),
        "equal": lambda: torch.equal(x, x),
        "list": lambda: x.tolist(),
        "numpy": lambda: x.numpy(),
        "to the CPU": lambda: x.cpu(),
    }
    for name, read in reading.items():
        with Reads() as reads:
            read()
        assert len(reads.found) == 1, name
    y = x.clone().requires_grad_()
    with Reads() as reads:
        torch.where(mask, y, 0.0)[torch.tensor([0, 1])].square().sum().backward()
        x.isfinite(), x.new_tensor(3.0), x[:2], x[..., None], len(x)
    assert not reads.found
    with Reads() as reads:
        y.register_hook(lambda g: g * float(g[0]))
        y.square().sum().backward()
    assert len(reads.found) == 1  # in the backward pass


FLOWS = {
    "Real NVP": lambda: pf.real_nvp(2, depth=1, hidden=(8,), norm=pf.transforms.BatchNorm),
    "splines": lambda: pf.nsf(2, depth=1, hidden=(8,)),
}


@pytest.mark.parametrize("family", FLOWS)
def test_steps_of_fit_read_nothing(family, monkeypatch):
    run = pf.training.run.Run
    step, epoch = run._step, run._train_epoch
    in_steps, in_epochs = Reads(), Reads()

    def one_step(self, *batch):
        if self.history.steps == 0:
            return step(self, *batch)
        with in_steps:
            return step(self, *batch)

    def one_epoch(self):
        with in_epochs:
            epoch(self)

    monkeypatch.setattr(run, "_step", one_step)
    monkeypatch.setattr(run, "_train_epoch", one_epoch)
    flow = pf.Flow(FLOWS[family]())
    settings = {"epochs": 1, "batch_size": 8, "validation": 0, "ema": 0.9, "progress": False}
    history = pf.fit(flow, DATA, **settings)
    assert history.steps == 60
    assert not in_steps.found
    looks = [where for _, where in in_epochs.found if where.startswith("run.py")]
    assert len(looks) == 2  # after 50 steps and at the epoch's end
