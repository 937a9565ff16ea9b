"""`save_memory`, which chooses what chains keep for the backward pass."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from ..chain import Chain

__all__ = ["save_memory"]

_MEMORY = ("plain", "checkpointed", "reversible")

M = TypeVar("M", bound=nn.Module)


def save_memory(module: M, memory: str = "checkpointed", *, every: int = 8) -> M:
    """Let every `Chain` inside keep less for the backward pass, at the price of time; return `module`.

    - "plain": all that autograd keeps.
    - "checkpointed": the input of each layer, which the backward pass evaluates again: a step costs
      about a third more, and gradients are exact.
    - "reversible": the input of one layer in `every`; the backward pass finds those in between by
      inverting layers, so gradients are exact up to the rounding of these inverses, which grows
      with `every`. Layers without a cheap formula for the inverse (autoregressive layers, neural
      ODEs, transforms of other libraries) are checkpointed.

    All of it holds for scoring and sampling, and for running statistics, random layers, autocast and
    data parallelism. Under `torch.compile` and `torch.func`, and without gradients, every mode is plain.

    Args:
        module: a flow, a transform or a guide with chains inside, as all families of several layers have.
        memory: the mode.
        every: in mode "reversible", the number of layers to a kept input; 0 for one value in all,
            whatever the depth.

    Raises:
        ValueError: if there is no chain, no such mode, or `every` is negative.
        RuntimeError: in the backward pass, if parameters or modes have changed since the forward pass, or
            a gradient through inverted layers is to be differentiated again.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.save_memory(pf.Flow(pf.real_nvp(4, depth=32)), "reversible")
        >>> flow().log_prob(torch.randn(10, 4)).mean().backward()
        >>> flow.transform.memory
        'reversible'

    Gomez et al., "The Reversible Residual Network: Backpropagation Without Storing Activations",
    2017, arXiv:1707.04585; Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
    arXiv:1604.06174.
    """
    chains = [m for m in module.modules() if isinstance(m, Chain)]
    if not chains:
        raise ValueError(f"expected a Chain somewhere inside; got none in {type(module).__name__}")
    if memory not in _MEMORY:
        raise ValueError(f"expected memory to be one of {_MEMORY}; got {memory!r}")
    if every < 0:
        raise ValueError(f"expected every ≥ 0; got {every}")
    for chain in chains:
        chain.memory, chain.kept_every = memory, every if memory == "reversible" else 1
    return module
