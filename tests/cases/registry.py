"""One dictionary of named cases: every exported transform and family, in the variants that matter."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import transforms as pyro_transforms
from torch import Tensor, nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Additive, Affine
from pyro_flows.nn import MLP, ResidualNet
from pyro_flows.partitions import Alternating, Halves, Mask

from . import autoregressive as autoregressive_cases
from . import continuous as continuous_cases
from . import discrete as discrete_cases
from . import glow as glow_cases
from . import images as image_cases
from . import linear as linear_cases
from . import memory as memory_cases
from . import real_nvp_images as conv_cases
from . import residual as residual_cases
from . import splines as spline_cases
from .case import Case

__all__ = ["CASES", "Case"]

FOREIGN = {
    "copies": "Pyro's and torch's own transforms keep caches that copy and pickle with them",
    "placement": "Pyro's and torch's own transforms make tensors on the CPU",
    "mixed_precision": "Pyro's own couplings let autocast reach their maps",
}
EMPTY = {"empty_batch": "Pyro and torch reshape with -1, which says nothing if there are no elements"}
SPLINE = {
    "scoring_reads_nothing": "Pyro's spline writes through boolean masks",
    "sampling_reads_nothing": "Pyro's spline writes through boolean masks",
    "functional": "Pyro's spline writes through boolean masks, which vmap does not batch",
    "compiled_training": "Pyro's spline gets a new attribute in its first call: a second graph",
}
COARSE = {"round_trip_float32": "Pyro's spline, and a sigmoid, lose more than 1e-4 in single precision"}


def _mask(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _net(passive: int, outputs: int, context_dim: int = 0) -> MLP:
    # A smooth activation: finite differences and second derivatives are of no use at kinks.
    return MLP(passive, outputs, (6,), context_dim=context_dim, activation=nn.Tanh)


def _coupling(size: int, *, swap: bool = False, context_dim: int = 0) -> tr.Coupling:
    partition = Halves(size, swap=swap)
    net = _net(partition.passive_shape[0], 2 * partition.active_shape[0], context_dim)
    return tr.Coupling(partition, Affine(), net, context_dim=context_dim)


def _nvp(size: int = 3, depth: int = 2, **options) -> pf.Chain:
    return pf.real_nvp(size, depth=depth, hidden=(6,), net=pf.nn.MLP, **options)


def _units(shape: tuple[int, ...]) -> tr.Units:
    units = tr.Units(shape)
    numbers = torch.arange(1.0, 1.0 + units.loc.numel()).reshape(units.loc.shape)
    units.place(numbers - 2, numbers / 2)
    return units


def _mixed() -> pf.Chain:
    return pf.Chain(
        [
            _nvp(),
            dist.transforms.AffineTransform(0.5, -0.2),  # so that the sigmoid does not saturate
            pyro_transforms.spline(3, count_bins=4),
            tr.reverse(3),
            dist.transforms.SigmoidTransform(),
        ]
    )


_CONTEXT = torch.tensor([0.3, -0.7])
_IMAGE = _mask(1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1).reshape(2, 3, 2)

CASES: dict[str, Case] = {
    # couplings: partitions, elementwise maps, conditioners
    "coupling": Case("Coupling", lambda: _coupling(5), (5,), single=True),
    "coupling-swap": Case("Coupling", lambda: _coupling(5, swap=True), (5,), single=True),
    "coupling-smallest": Case("Coupling", lambda: _coupling(2), (2,), single=True),
    "coupling-context": Case("Coupling", lambda: _coupling(3, context_dim=2), context=(2,), single=True),
    "coupling-additive": Case(
        "Coupling", lambda: tr.Coupling(Halves(3), Additive(), _net(2, 1)), single=True
    ),
    "coupling-alternating": Case(
        "Coupling", lambda: tr.Coupling(Alternating(5), Affine(1.5), _net(3, 4)), (5,), single=True
    ),
    "coupling-alternating-swap": Case(
        "Coupling",
        lambda: tr.Coupling(Alternating(5, swap=True), Affine(), ResidualNet(2, 6, 6, 1)),
        (5,),
        single=True,
    ),
    "coupling-mask": Case(
        "Coupling",
        lambda: tr.Coupling(
            Mask(_mask(0, 1, 1, 0, 0)), Affine(), ResidualNet(2, 6, 6, 1, context_dim=2), context_dim=2
        ),
        (5,),
        (2,),
        single=True,
    ),
    "coupling-image-mask": Case(
        "Coupling", lambda: tr.Coupling(Mask(_IMAGE), Affine(), _net(6, 12)), (2, 3, 2), single=True
    ),
    "helper-coupling": Case("coupling", lambda: tr.coupling(3), single=True),
    "helper-coupling-options": Case(
        "coupling", lambda: tr.coupling(4, (7, 5), swap=True, context_dim=1), (4,), (1,), single=True
    ),
    # normalisation and linear maps
    "diagonal-scaling": Case("DiagonalScaling", lambda: tr.DiagonalScaling(3), single=True),
    "helper-diagonal-scaling": Case("diagonal_scaling", lambda: tr.diagonal_scaling(1), (1,), single=True),
    "act-norm": Case("ActNorm", lambda: tr.ActNorm(3), single=True),
    "act-norm-image": Case("ActNorm", lambda: tr.ActNorm(2, event_dim=3), (2, 3, 2), single=True),
    "helper-act-norm": Case("act_norm", lambda: tr.act_norm(1), (1,), single=True),
    "batch-norm": Case("BatchNorm", lambda: tr.BatchNorm(3), single=True),
    "batch-norm-plain": Case("BatchNorm", lambda: tr.BatchNorm(2, decay=0.0), (2,), single=True),
    "batch-norm-image": Case("BatchNorm", lambda: tr.BatchNorm(2, event_dim=3), (2, 3, 2), single=True),
    "helper-batch-norm": Case("batch_norm", lambda: tr.batch_norm(1), (1,), single=True),
    "standardize": Case(
        "Standardize",
        lambda: tr.Standardize(torch.tensor([5.0, -1.0, 0.0]), torch.tensor([0.1, 20.0, 1.0])),
        single=True,
    ),
    "units": Case("Units", lambda: _units((3,)), single=True),
    "units-image": Case("Units", lambda: _units((2, 3, 2)), (2, 3, 2), single=True),
    "units-scalar": Case(
        "Units",
        lambda: _units(()),
        (),
        single=True,
        outside={"compiled_training": "torch makes a graph with a double scalar in it twice"},
    ),
    # permutations
    "permutation": Case("Permutation", lambda: tr.Permutation(torch.tensor([2, 0, 3, 1])), (4,), single=True),
    "permutation-smallest": Case("Permutation", lambda: tr.Permutation(torch.tensor([0])), (1,), single=True),
    "helper-permutation": Case("permutation", lambda: tr.permutation(torch.tensor([1, 2, 0])), single=True),
    "helper-reverse": Case("reverse", lambda: tr.reverse(5), (5,), single=True),
    "helper-random-permutation": Case(
        "random_permutation", lambda: tr.random_permutation(6), (6,), single=True
    ),
    # others' transforms
    "foreign-exp": Case("Foreign", lambda: tr.Foreign(dist.transforms.ExpTransform()), (), outside=FOREIGN),
    "foreign-spline": Case(
        "Foreign",
        lambda: tr.Foreign(pyro_transforms.spline_coupling(3, hidden_dims=[6], count_bins=4)),
        outside=FOREIGN | EMPTY | SPLINE | COARSE,
    ),
    "foreign-coupling": Case(
        "Foreign", lambda: tr.Foreign(pyro_transforms.affine_coupling(4, [6])), (4,), outside=FOREIGN | EMPTY
    ),
    "foreign-conditional": Case(
        "Foreign",
        lambda: tr.Foreign(pyro_transforms.conditional_affine_coupling(4, 2, [6]), context_dim=2),
        (4,),
        (2,),
        outside=FOREIGN | EMPTY,
    ),
    # composition, inverses, conditioning
    "chain": Case("Chain", lambda: pf.Chain([_coupling(3), tr.ActNorm(3), _coupling(3, swap=True)])),
    "chain-of-one": Case("Chain", lambda: pf.Chain([tr.DiagonalScaling(2)]), (2,)),
    "chain-nested": Case(
        "Chain",
        lambda: pf.Chain([tr.reverse(3), pf.Chain([_nvp(), tr.BatchNorm(3)]), pf.Chain([_nvp().inv])]),
    ),
    "chain-context": Case(
        "Chain", lambda: pf.Chain([tr.DiagonalScaling(3), _nvp(context_dim=2), tr.reverse(3)]), context=(2,)
    ),
    "chain-image": Case(
        "Chain",
        lambda: pf.Chain([tr.ActNorm(2, event_dim=3), tr.Coupling(Mask(~_IMAGE), Affine(), _net(6, 12))]),
        (2, 3, 2),
    ),
    "chain-mixed": Case("Chain", _mixed, scale=0.1, outside=FOREIGN | SPLINE | COARSE),
    "chain-composed": Case(
        "Chain",
        lambda: pf.Chain(
            [dist.transforms.ComposeTransform([_coupling(3).inv, dist.transforms.ExpTransform()])]
        ),
        outside=FOREIGN,
    ),
    "inverse": Case("Coupling", lambda: _coupling(3).inv, single=True),
    "inverse-context": Case("Chain", lambda: _nvp(context_dim=2).inv, context=(2,)),
    "inverse-batch-norm": Case("BatchNorm", lambda: tr.BatchNorm(3).inv, single=True),
    "inverse-bounded": Case(
        "Chain",
        lambda: pf.Chain([_nvp(), dist.transforms.SoftplusTransform()]).inv,
        outside=FOREIGN,
    ),
    "bound": Case("Coupling", lambda: _coupling(3, context_dim=2).condition(_CONTEXT), single=True),
    "bound-inverse": Case("Chain", lambda: _nvp(context_dim=2).condition(_CONTEXT).inv),
    "bound-in-chain": Case(
        "Chain", lambda: pf.Chain([_nvp(context_dim=2).condition(_CONTEXT), tr.ActNorm(3)])
    ),
    # families
    "nice": Case("nice", lambda: pf.nice(3, depth=2, hidden=(6,))),
    "nice-context": Case("nice", lambda: pf.nice(5, depth=2, hidden=(6, 4), context_dim=2), (5,), (2,)),
    # Nets start sharp and have a gain: at the usual scale such flows are too rough for single precision.
    "real-nvp": Case("real_nvp", lambda: pf.real_nvp(3, depth=3, hidden=(6,)), scale=0.05),
    "real-nvp-smallest": Case("real_nvp", lambda: pf.real_nvp(2, depth=1, hidden=(6,)), (2,), scale=0.05),
    "real-nvp-context": Case(
        "real_nvp",
        lambda: pf.real_nvp(3, depth=2, hidden=(6,), context_dim=2, activation=nn.SiLU),
        context=(2,),
        scale=0.05,
    ),
    "real-nvp-batch-norm": Case("real_nvp", lambda: _nvp(norm=tr.BatchNorm)),
    "real-nvp-act-norm": Case("real_nvp", lambda: _nvp(norm=tr.ActNorm, context_dim=1), context=(1,)),
}
for module in (
    autoregressive_cases,
    continuous_cases,
    conv_cases,
    discrete_cases,
    glow_cases,
    image_cases,
    linear_cases,
    memory_cases,
    residual_cases,
    spline_cases,
):
    CASES |= module.CASES
