"""Data that lies far from the base, before a flow has had to learn the way there."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..flow import Flow

__all__ = ["warn_of_scale"]


def warn_of_scale(flow: Flow, data: Tensor, context: Tensor | None = None) -> None:
    """Warn where `data`, brought to the base's side, has not the size of the base's samples."""
    training = flow.training
    flow.eval()
    with torch.no_grad():
        distribution = flow(context)
        x = flow.transform.inverse_and_log_det(data, context)[0]
        ratio = float(x.abs().median() / distribution.base_dist.sample((100,)).abs().median())
    flow.train(training)
    if ratio <= 1 / 30 or ratio >= 30:
        warnings.warn(
            f"the data lies far from the base: a new flow leaves it at {ratio:.1g} times the size of the "
            "noise, which trains slowly. Put pf.transforms.Standardize.of(data) next to the data: "
            "pf.Flow([transform, pf.transforms.Standardize.of(data)])",
            stacklevel=6,
        )
