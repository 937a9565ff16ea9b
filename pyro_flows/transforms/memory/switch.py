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

    - "plain": everything that autograd keeps.
    - "checkpointed": the input of each layer, which the backward pass evaluates again: a step costs
      about a third more, and gradients are exact.
    - "reversible": one value in `every` layers; the backward pass finds the inputs in between by
      inverting the layers, so gradients are exact up to the rounding of these inverses, which
      grows with the layers between two values. Layers whose inverse is no cheap formula
      (autoregressive layers, neural ODEs, others' transforms) are checkpointed.

    All of it holds for scoring and sampling, and for running statistics, random layers, autocast and
    data parallelism. Under `torch.compile` and `torch.func`, and without gradients, every mode is plain.

    Args:
        module: a flow, a transform, a guide: whatever holds chains, as all families of several
            layers do.
        memory: the mode.
        every: how many layers share one kept value in mode "reversible"; 0 for one value in all,
            whatever the depth.

    Raises:
        ValueError: where there is no chain, no such mode, or `every` is negative. RuntimeError:
            in the backward pass, where parameters or modes have changed since the forward pass, or
            a gradient through reversed layers is to be differentiated again.

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
