"""Whole families in bfloat16: networks are coarse, densities are not."""

import math

import pytest
import torch

import pyro_flows as pf
from pyro_flows.transforms import Dequantize, LogitPixels

MOONS = pf.datasets.TwoMoons(noise=0.1)


def digits():
    load_digits = pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's").load_digits
    return torch.tensor(load_digits().images)[:, None]


def image(core):
    return [core, LogitPixels(1e-6, levels=17), Dequantize(levels=17)]


FAMILIES = {
    "nice": lambda: pf.nice(2),
    "real_nvp": lambda: pf.real_nvp(2),
    "maf": lambda: pf.maf(2),
    "iaf": lambda: pf.iaf(2),
    "nsf": lambda: pf.nsf(2),
    "nsf, autoregressive": lambda: pf.nsf(2, autoregressive=True),
    "naf": lambda: pf.naf(2, depth=2),
    "ffjord": lambda: pf.ffjord(2),
    "residual": lambda: pf.residual(2, depth=4),
    "planar": lambda: pf.planar(2),
    "radial": lambda: pf.radial(2),
    "glow": lambda: image(pf.glow((1, 8, 8), depth=4, width=32)),
    "real_nvp_image": lambda: image(pf.real_nvp_image((1, 8, 8), scales=2, blocks=1, width=16)),
}
FAST = ("nice", "nsf")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES]
)
def test_bits_per_dim_are_those_of_single_precision(name):
    images = name in ("glow", "real_nvp_image")
    data, test = (digits(), digits()[:500]) if images else (MOONS.sample((4000,)), MOONS.sample((4000,)))
    flow = pf.Flow(FAMILIES[name]())
    epochs = 5 if name in ("nice", "nsf", "real_nvp", "maf") else 3
    pf.fit(flow, data, epochs=epochs, progress=False, precision="bf16")
    found = []
    with torch.no_grad():
        for coarse in (False, True):
            torch.manual_seed(1)  # the same noise on pixels
            with torch.autocast("cpu", torch.bfloat16, enabled=coarse):
                found.append(flow().log_prob(test).double())
    assert found[1].isfinite().all()
    difference = (found[1] - found[0]).mean() / test[0].numel() / math.log(2)
    assert abs(float(difference)) < 0.002
