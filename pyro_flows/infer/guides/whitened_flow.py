"""Building a guide's flow: what the user gave, and the whitening after it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Transform

from ...flow import Flow
from ...transforms import Chain
from .fixed_layers import fix_layers
from .whitening import Whitening

__all__ = ["chain_of", "is_factory", "whitened_flow"]

MOST_DENSE = 1024  # dimensions, above which no d × d matrix is made


def is_factory(transform: Any) -> bool:
    """Whether it is a function that makes a transform, and not one itself."""
    return callable(transform) and not isinstance(transform, Transform)


def chain_of(given: Any, dim: int) -> Chain:
    """Return a transform, a list of them, or what a factory makes for `dim` dimensions, as a chain.

    Raises:
        ValueError: if it is not of vectors of length `dim`.
    """
    built = given(dim) if is_factory(given) else given
    chain = Chain([built] if isinstance(built, Transform) else built)
    shapes = chain.domain_shape, chain.codomain_shape
    if any(shape is not None and shape != (dim,) for shape in shapes):
        raise ValueError(f"expected a transform of vectors of length {dim}; got shapes {shapes}")
    return chain


def whitened_flow(chain: Chain, loc: Tensor) -> Flow:
    """Return a flow of the chain's layers and a whitening at `loc`, of shape (d,), with scales of one."""
    dim = len(loc)
    whitening = Whitening(dim, dense=dim <= MOST_DENSE)
    flow = Flow([*chain, whitening]).to(loc.device, loc.dtype)
    whitening.place(loc, whitening.scale)
    fix_layers(flow)
    return flow
