"""The cases of convolutional nets and Real NVP of images: odd channel counts, not square, with context."""

from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Additive, Affine
from pyro_flows.nn import ConvResidualNet
from pyro_flows.partitions import Channels, Checkerboard, CheckerboardDepth

from .case import Case

__all__ = ["CASES"]

LONG = ("placement", "training_on_one_tensor")  # "real-nvp-image" and "glow-context-image" stand for these
DIVERGES = {"compiled_training": "three such steps on another flow's samples diverge without batch norm"}


def _coupling(partition, elementwise=None, *, blocks=1, **options) -> tr.Coupling:
    elementwise = elementwise or Affine()
    outputs = elementwise.num_params * partition.active_shape[0]
    # A smooth activation: finite differences and second derivatives are of no use at kinks.
    options = {"width": 4, "blocks": blocks, "activation": nn.Tanh} | options
    net = ConvResidualNet(partition.passive_shape, outputs, **options)
    return tr.Coupling(partition, elementwise, net)


CASES = {
    "conv-channels": Case("Coupling", lambda: _coupling(Channels((3, 2, 3))), (3, 2, 3), single=True),
    "conv-rows": Case(
        "Coupling", lambda: _coupling(Checkerboard((1, 4, 2), swap=True), blocks=2), (1, 4, 2), single=True
    ),
    "conv-depth": Case(
        "Coupling", lambda: _coupling(CheckerboardDepth((1, 2, 4)), Additive()), (1, 2, 4), single=True
    ),
    "conv-context": Case(
        "Coupling", lambda: _coupling(Channels((3, 2, 3)), context_dim=2), (3, 2, 3), (2,), single=True
    ),
    "conv-image-context": Case(
        "Coupling",
        lambda: _coupling(Checkerboard((1, 2, 4)), context_shape=(2, 3, 4)),
        (1, 2, 4),
        (2, 3, 4),
        single=True,
    ),
    "real-nvp-image": Case(
        "real_nvp_image", lambda: pf.real_nvp_image((1, 4, 4), scales=1, blocks=1, width=3), (16,)
    ),
    "real-nvp-image-odd": Case(
        "real_nvp_image",
        lambda: pf.real_nvp_image((1, 2, 6), scales=2, blocks=0, width=3, norm=tr.ActNorm, context_dim=1),
        (12,),
        (1,),
        outside=DIVERGES,
        slow=LONG,
    ),
    "real-nvp-image-depth": Case(
        "real_nvp_image",
        lambda: pf.real_nvp_image(
            (3, 2, 4),
            scales=1,
            blocks=1,
            width=3,
            norm=None,
            checkerboard=CheckerboardDepth,
            context_shape=(1, 2, 4),
        ),
        (24,),
        (1, 2, 4),
        outside=DIVERGES,
        slow=LONG,
    ),
}
