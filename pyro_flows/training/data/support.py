"""Whether data lie where the flow can."""

from __future__ import annotations

import torch

from ...flow import Flow
from ...transforms.placing import is_real
from .sources import Source, TensorSource, inner_source, row_of, rows_at_once

__all__ = ["check_support"]


def check_support(flow: Flow, source: Source, *, name: str) -> None:
    """Raise if rows of tensors lie outside the support of a flow.

    On its border too: an `ExpTransform` takes a zero to −∞, which no location and scale make a number.
    """
    support, x = flow.given_transform.codomain, None
    if is_real(support) or not isinstance(inner_source(source), TensorSource):
        return
    outside = []
    for rows in torch.arange(len(source)).split(rows_at_once(flow.given_transform)):
        (x, _), *_ = source.batches([rows])
        if x.dim() <= support.event_dim:
            return  # of another shape, which is refused elsewhere
        outside.append(~support.check(x).reshape(len(x), -1).all(1).cpu())
    bad = torch.cat(outside)
    if bool(bad.any()):
        raise ValueError(
            f"expected {name} within the support {support}; got others in {int(bad.sum())} of {len(source)} "
            f"rows, the first is row {row_of(source, bad.nonzero()[0, 0])}"
        )
