"""How well a flow compresses images."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..flow import Flow
from .data import rows_at_once, source_of
from .statistics import in_eval_mode

__all__ = ["bits_per_dim"]


def bits_per_dim(
    flow: Flow,
    images: Any,
    *,
    context: Any = None,
    draws: int = 1,
    weighted: bool = False,
    scale: float = 1.0,
) -> Tensor:
    r"""Return −log₂ P(y) / D of each image y of D whole numbers, in expectation an upper bound.

    The convention: per dimension of the image itself, C × H × W of them whatever the flow does inside;
    each is a whole number, in steps of 1, and dequantisation noise is always drawn, from torch's global
    generator. A flow that ends in `Dequantize` draws its own. A density of real numbers is given
    s · (y + u), with u uniform on [0, 1), and −log₂ s is added: a flow over [0, 1) of 256 levels, with
    scale=1/256, gets its 8 bits.

    Args:
        flow: over whole numbers or over real ones; scored in eval mode, its mode stays as it is.
        images: array or tensor of whole numbers of shape (rows, *event), or a dataset.
        context: array or tensor of shape (rows, *context_shape), for a conditional flow.
        draws: how many draws of the noise to average over.
        weighted: average probabilities instead of their logarithms, a tighter bound that becomes
            exact with many draws (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).
        scale: s, what a flow of real numbers has its data multiplied by.

    Returns:
        Bits per dimension in double precision, of shape (rows,).

    Raises:
        ValueError: if `draws` or `scale` is not positive.

    Example:
        >>> import torch, pyro_flows as pf
        >>> to_pixels = [pf.transforms.Reshape((64,), (1, 8, 8)), pf.transforms.LogitPixels()]
        >>> flow = pf.Flow([pf.nice(64), *to_pixels])
        >>> images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
        >>> pf.bits_per_dim(flow, images).shape
        torch.Size([5])
    """
    if not (draws >= 1 and scale > 0):
        raise ValueError(f"expected draws ≥ 1 and scale > 0; got {draws} and {scale}")
    source = source_of(images, context, like=flow)
    found = []
    with torch.no_grad(), in_eval_mode(flow):
        for y, given in source.batches(torch.arange(len(source)).split(rows_at_once(flow.transform))):
            distribution = flow(given)
            dims = distribution.event_shape.numel()
            whole = distribution.support.is_discrete
            scores = torch.stack(
                [
                    distribution.log_prob(y if whole else scale * (y + torch.rand_like(y))).double()
                    for _ in range(draws)
                ]
            )
            mean = scores.logsumexp(0) - math.log(draws) if weighted else scores.mean(0)
            found.append(-mean / (dims * math.log(2)) - (0.0 if whole else math.log2(scale)))
    return torch.cat(found)
