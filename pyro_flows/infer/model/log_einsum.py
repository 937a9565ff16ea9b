"""An opt_einsum backend for sums of products in log space, exact where factors lie far apart, and under vmap.

Pyro's own shifts each factor by its own maximum: in single precision a sum is lost if the factors' peaks lie
88 nats apart. This adds the factors up before it looks for the maximum.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.ops.einsum.util import Tensordot
from torch import Tensor

__all__ = ["einsum", "tensordot", "transpose"]


def transpose(a: Tensor, axes: Any) -> Tensor:
    """Permute dimensions."""
    return a.permute(axes)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Return log Σ exp Σ of the operands: added first, then summed over symbols that the output lacks."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    summed = "".join(sorted(set(inputs) - set(output) - {","}))
    order = output + summed
    total: Any = 0.0
    for symbols, operand in zip(terms, operands, strict=True):
        there = [symbol for symbol in order if symbol in symbols]
        operand = operand.permute([symbols.index(symbol) for symbol in there])
        sizes = iter(operand.shape)
        total = total + operand.reshape([next(sizes) if symbol in symbols else 1 for symbol in order])
    if not summed:
        return total.clone() if len(operands) == 1 else total
    dims = list(range(len(output), len(order)))
    shift = total.detach().amax(dims, keepdim=True).clamp(min=torch.finfo(total.dtype).min)
    mass = (total - shift).exp().sum(dims)
    empty = mass == 0  # a logarithm's gradient would be NaN there
    log_mass = torch.where(empty, -torch.inf, torch.where(empty, 1.0, mass).log())
    result: Tensor = log_mass + shift.squeeze(dims)
    return result


tensordot = Tensordot(einsum)
