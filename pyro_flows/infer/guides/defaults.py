"""The flows that guides take if none is given."""

from __future__ import annotations

from torch import nn

from ...elementwise import Affine, PowerTails, RationalQuadratic
from ...families import nsf, real_nvp
from ...nn import MLP
from ...transform import FlowTransform
from ...transforms import Chain, Monotone

__all__ = ["default_transform", "local_transform"]

WIDE = 128  # dimensions, above which nets of 32 units cannot bend each of them in its own way


def default_transform(dim: int) -> FlowTransform:
    """Return the flow that `AutoFlow` takes by default for `dim` latent dimensions."""
    if dim == 1:
        # With nothing to condition on, tails that are not Gaussian must come from the map itself.
        return Chain([Monotone(g, (1,)) for g in (RationalQuadratic(bins=16), PowerTails())])
    couplings = real_nvp(dim, depth=8, hidden=(32, 32), activation=nn.SiLU, elementwise=Affine(3.0), net=MLP)
    if dim <= WIDE:
        return couplings
    return Chain([*couplings, Monotone(RationalQuadratic(bins=8), (dim,))])


def local_transform(dim: int, context_dim: int) -> FlowTransform:
    """Return f(x; c) = exp(s(c)) h(x; c) + t(c): a conditional flow h, scaled and shifted by the context."""
    widths = (64, 64)
    if dim == 1:
        inner = nsf(1, depth=1, hidden=widths, context_dim=context_dim, autoregressive=True)
    else:
        inner = real_nvp(dim, depth=4, hidden=widths, context_dim=context_dim, activation=nn.SiLU, net=MLP)
    affine = Affine(5.0)
    last = nn.Linear(widths[0], affine.num_params * dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    net = nn.Sequential(nn.Linear(context_dim, widths[0]), nn.SiLU(), last)
    return Chain([inner, Monotone(affine, (dim,), net, context_dim=context_dim)])
