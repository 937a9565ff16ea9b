"""Autoregressive and spline flows of several libraries behind one callable, with nets of equal widths.

`FAMILIES[family][library](dim, depth, hidden, activation)` gives a `Model`; see `peers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from peers import Model, _ContextFree, _need, mlp
from torch import nn

import pyro_flows as pf

BOUND = 5.0  # Zuko's interval, and ours


def _ours(transform: pf.FlowTransform) -> Model:
    flow = pf.Flow(transform)
    return Model("pyro_flows", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_maf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    return _ours(pf.maf(dim, depth=depth, hidden=hidden, activation=activation))


def ours_nsf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    return _ours(pf.nsf(dim, depth=depth, hidden=hidden, activation=activation, autoregressive=True))


def ours_nsf_coupling(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    return _ours(pf.nsf(dim, depth=depth, hidden=hidden, activation=activation))


def _zuko(flow: nn.Module) -> Model:
    return Model("zuko", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def zuko_maf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    flows = _need("zuko").flows
    return _zuko(flows.MAF(dim, transforms=depth, hidden_features=tuple(hidden), activation=activation))


def zuko_nsf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    flows = _need("zuko").flows
    return _zuko(flows.NSF(dim, transforms=depth, hidden_features=tuple(hidden), activation=activation))


def ours_naf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    return _ours(pf.naf(dim, depth=depth, hidden=hidden, activation=activation))


def zuko_naf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    """Its monotone nets are dense, two layers of 64 units an element, and read 16 signals each."""
    flows = _need("zuko").flows
    return _zuko(flows.NAF(dim, transforms=depth, hidden_features=tuple(hidden), activation=activation))


def _nflows(dim: int, layers: Sequence[nn.Module]) -> Model:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    parts: list[nn.Module] = []
    for layer in layers:
        parts += [layer] if "Coupling" in type(layer).__name__ else [layer, ReversePermutation(dim)]
    flow = Flow(CompositeTransform(parts), StandardNormal([dim]))
    return Model("nflows", flow, lambda x: flow.log_prob(x), lambda n: flow.sample(n))


def _made(dim: int, hidden: Sequence[int], activation: type[nn.Module]) -> dict:
    if len(set(hidden)) > 1:
        raise SystemExit("nflows' masked nets have one width")
    blocks = {"num_blocks": len(hidden) - 1, "use_residual_blocks": False, "activation": activation()}
    return {"features": dim, "hidden_features": hidden[0], **blocks}


def nflows_maf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    _need("nflows")
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform as Layer

    return _nflows(dim, [Layer(**_made(dim, hidden, activation)) for _ in range(depth)])


def nflows_nsf(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    _need("nflows")
    from nflows.transforms.autoregressive import (
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform as Layer,
    )

    spline = {"num_bins": 8, "tails": "linear", "tail_bound": BOUND}
    return _nflows(dim, [Layer(**_made(dim, hidden, activation), **spline) for _ in range(depth)])


def nflows_nsf_coupling(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    _need("nflows")
    from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform as Layer
    from nflows.utils.torchutils import create_alternating_binary_mask

    def net(inputs: int, outputs: int) -> nn.Module:
        module = _ContextFree(mlp([inputs, *hidden, outputs], activation))
        module.hidden_features = hidden[-1]  # what its softmax is scaled by
        return module

    masks = [create_alternating_binary_mask(dim, even=i % 2 == 0) for i in range(depth)]
    spline = {"num_bins": 8, "tails": "linear", "tail_bound": BOUND}
    return _nflows(dim, [Layer(mask, net, **spline) for mask in masks])


def normflows_nsf_coupling(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    """Its `CoupledRationalQuadraticSpline` with a plain net, and no free splines of the passive half."""
    nf = _need("normflows")
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling as Coupling

    def net(inputs: int, outputs: int) -> nn.Module:
        return _ContextFree(mlp([inputs, *hidden, outputs], activation))

    layers = []
    for i in range(depth):
        layer = nf.flows.CoupledRationalQuadraticSpline(dim, 1, 1)
        mask = nf.utils.masks.create_alternating_binary_mask(dim, even=i % 2 == 0)
        layer.prqct = Coupling(mask, net, num_bins=8, tails="linear", tail_bound=BOUND)
        layers.append(layer)
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return Model("normflows", flow, lambda x: flow.log_prob(x), lambda n: flow.sample(n)[0])


FAMILIES: dict[str, dict[str, Callable[..., Model]]] = {
    "maf": {"ours": ours_maf, "zuko": zuko_maf, "nflows": nflows_maf},
    "nsf": {"ours": ours_nsf, "zuko": zuko_nsf, "nflows": nflows_nsf},
    "nsf-coupling": {
        "ours": ours_nsf_coupling,
        "nflows": nflows_nsf_coupling,
        "normflows": normflows_nsf_coupling,
    },
    "naf": {"ours": ours_naf, "zuko": zuko_naf},
}


def build(
    family: str, name: str, dim: int, depth: int, hidden: Sequence[int], *, activation=nn.ReLU, seed: int = 0
) -> Model:
    """Return a library's flow of `depth` layers, with parameters drawn from `seed`."""
    torch.manual_seed(seed)
    return FAMILIES[family][name](dim, depth, list(hidden), activation)
