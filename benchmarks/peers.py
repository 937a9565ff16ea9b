"""Affine coupling flows of several libraries behind one callable, with the same nets, for the benchmarks.

`build(name, ...)` gives a `Model`: a module whose call is the log-density. Peers are imported when asked for.
Each library is used as its own tutorial shows; conditioners are multilayer perceptrons of equal widths.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType

import torch
from torch import Tensor, nn

import pyro_flows as pf


class MissingPeer(ImportError):
    """A library to compare with is not installed."""


def _need(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPeer(
            f"{name} is not installed: `pip install {name}`, or leave it out of --libraries"
        ) from error


class Model(nn.Module):
    """A library's flow (`module`, for its parameters), how it scores and how it draws so many samples."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        score: Callable[[Tensor], Tensor],
        draw: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.module, self.score, self.draw = name, module, score, draw

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


def mlp(sizes: Sequence[int], activation: type[nn.Module], *, zero: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    if zero:
        nn.init.zeros_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def ours(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module], norm=None) -> Model:
    flow = pf.Flow(pf.real_nvp(dim, depth=depth, hidden=hidden, activation=activation, norm=norm))
    return Model("pyro_flows", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_plain(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    """Ours with the peers' own nets, which read x as it is and have no gain."""
    flow = pf.Flow(pf.real_nvp(dim, depth=depth, hidden=hidden, activation=activation, net=pf.nn.MLP))
    return Model("pyro_flows, plain nets", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_in_pyro(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    """The same transforms in Pyro's own `TransformedDistribution`, built once as Pyro's tutorial does."""
    import pyro.distributions as dist

    transform = pf.real_nvp(dim, depth=depth, hidden=hidden, activation=activation)
    base = dist.Normal(torch.zeros(dim), torch.ones(dim)).to_event(1)
    flow = dist.TransformedDistribution(base, [transform])
    return Model("pyro_flows (plain)", transform, flow.log_prob, lambda n: flow.sample((n,)))


def normflows(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    nf = _need("normflows")
    flows: list[nn.Module] = []
    for i in range(depth):
        # "swap" alternates the sizes of the halves where dim is odd; the last swap would be idle.
        passive = dim - dim // 2
        net = mlp([passive, *hidden, 2 * (dim - passive)], activation, zero=True)
        flows.append(nf.flows.AffineCouplingBlock(net))
        if i < depth - 1:
            flows.append(nf.flows.Permute(dim, mode="swap"))
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), flows)
    return Model("normflows", flow, lambda x: flow.log_prob(x), lambda n: flow.sample(n)[0])


class _ContextFree(nn.Module):
    """nflows calls its nets with a context too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x)


def nflows(
    dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module], wide_scale: bool = False
) -> Model:
    """nflows 0.14 scales by sigmoid(a + 2) + 0.001 towards the noise, so it can never expand: no log-density
    above the base's mode. `wide_scale` takes the softplus scale that stands as a comment in its source."""
    _need("nflows")
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.coupling import AffineCouplingTransform
    from nflows.utils.torchutils import create_alternating_binary_mask

    def net(inputs: int, outputs: int) -> nn.Module:
        return _ContextFree(mlp([inputs, *hidden, outputs], activation))

    class WideScale(AffineCouplingTransform):
        def _scale_and_shift(self, params: Tensor) -> tuple[Tensor, Tensor]:
            raw, shift = params[:, self.num_transform_features :], params[:, : self.num_transform_features]
            return (nn.functional.softplus(raw) + 1e-3).clamp(0, 3), shift

    kind = WideScale if wide_scale else AffineCouplingTransform
    layers = [kind(create_alternating_binary_mask(dim, even=i % 2 == 0), net) for i in range(depth)]
    flow = Flow(CompositeTransform(layers), StandardNormal([dim]))
    return Model("nflows", flow, lambda x: flow.log_prob(x), flow.sample)


def zuko(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    flows = _need("zuko").flows
    flow = flows.NICE(dim, transforms=depth, hidden_features=tuple(hidden), activation=activation)
    return Model("zuko", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def pyro(dim: int, depth: int, hidden: Sequence[int], activation: type[nn.Module]) -> Model:
    """Pyro's own couplings, with swaps of the halves between them, built once as its tutorial does."""
    import pyro.distributions as dist
    from pyro.nn import DenseNN

    split = dim // 2
    parts: list[torch.distributions.Transform] = []
    for i in range(depth):
        net = DenseNN(split, list(hidden), param_dims=[dim - split] * 2, nonlinearity=activation())
        parts.append(dist.transforms.AffineCoupling(split, net))
        if i < depth - 1:
            parts.append(dist.transforms.Permute(torch.arange(dim).roll(split)))
    flow = dist.TransformedDistribution(dist.Normal(torch.zeros(dim), torch.ones(dim)).to_event(1), parts)
    module = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
    return Model("pyro", module, lambda x: flow.log_prob(x), lambda n: flow.sample((n,)))


BUILDERS: dict[str, Callable[..., Model]] = {
    "ours": ours,
    "ours_plain": ours_plain,
    "ours_in_pyro": ours_in_pyro,
    "normflows": normflows,
    "nflows": nflows,
    "zuko": zuko,
    "pyro": pyro,
}


def build(
    name: str,
    dim: int,
    depth: int,
    hidden: Sequence[int],
    *,
    activation=nn.ReLU,
    seed: int | None = 0,
    **options,
) -> Model:
    """Return a library's flow of `depth` affine couplings, with parameters drawn from `seed` if given."""
    if seed is not None:
        torch.manual_seed(seed)
    return BUILDERS[name](dim, depth, list(hidden), activation, **options)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    lines.insert(1, "| " + " | ".join(["---"] * len(header)) + " |")
    return "\n".join(lines)
