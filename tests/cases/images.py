"""The cases of images: small, not square, with one and three channels."""

from torch import Tensor, nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.elementwise import Affine
from pyro_flows.partitions import Channels, Checkerboard, CheckerboardDepth

from .case import Case

__all__ = ["CASES"]


class SmallConvNet(nn.Module):
    """Two convolutions; any number of batch dimensions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(inputs, 3, 3, padding=1), nn.Conv2d(3, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.last(self.first(x.reshape(-1, *x.shape[-3:])).tanh())
        return h.reshape(*x.shape[:-3], *h.shape[1:])


def _coupling(partition) -> tr.Coupling:
    net = SmallConvNet(partition.passive_shape[0], 2 * partition.active_shape[0])
    return tr.Coupling(partition, Affine(), net)


def _scale(channels: int, height: int, width: int, *, alternating: bool = False) -> pf.Chain:
    squeezed = (4 * channels, height // 2, width // 2)
    return pf.Chain(
        [
            _coupling(Channels(squeezed)),
            tr.Squeeze((channels, height, width), alternating=alternating),
            _coupling(Checkerboard((channels, height, width))),
            _coupling(Checkerboard((channels, height, width), swap=True)),
        ]
    )


CASES = {
    "coupling-channels": Case("Coupling", lambda: _coupling(Channels((3, 2, 3))), (3, 2, 3), single=True),
    "coupling-checkerboard": Case(
        "Coupling", lambda: _coupling(Checkerboard((1, 2, 4), swap=True)), (1, 2, 4), single=True
    ),
    "coupling-checkerboard-depth": Case(
        "Coupling", lambda: _coupling(CheckerboardDepth((2, 2, 4))), (2, 2, 4), single=True
    ),
    "coupling-any-size": Case(
        "Coupling",
        lambda: tr.Coupling(Channels(swap=True), Affine(), SmallConvNet(1, 2)),
        (2, 3, 3),
        single=True,
    ),
    "reshape": Case("Reshape", lambda: tr.Reshape((6,), (1, 2, 3)), (6,), single=True),
    "squeeze": Case("Squeeze", lambda: tr.Squeeze((3, 2, 4)), (12, 1, 2), single=True),
    "squeeze-alternating": Case("Squeeze", lambda: tr.Squeeze(alternating=True), (8, 1, 2), single=True),
    "multiscale-one": Case("Multiscale", lambda: tr.Multiscale([_scale(1, 2, 4)]), (8,)),
    "multiscale": Case(
        "Multiscale",
        lambda: tr.Multiscale([_scale(1, 4, 8, alternating=True), _scale(2, 2, 4)]),
        (32,),
    ),
}
