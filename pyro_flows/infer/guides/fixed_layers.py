"""Layers whose values depend on the batch, fixed, so that a guide scores what it has drawn."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from ...nn import RunningMoments
from ...transforms import ActNorm, BatchNorm

__all__ = ["fix_layers"]

_DEPENDING_ON_THE_BATCH = (ActNorm, BatchNorm, RunningMoments, _NormBase, _DropoutNd)


def fix_layers(module: nn.Module) -> None:
    """Put batch norm, act norm and dropout inside `module` into evaluation mode.

    A guide has no data to take statistics from: it draws, by the present ones, and scores its own draws. In
    training mode the two would be different densities. Fixed, batch norm is an affine map that starts as the
    identity, and act norm one whose scales are learned.
    """
    for layer in module.modules():
        if isinstance(layer, _DEPENDING_ON_THE_BATCH):
            layer.eval()
