"""Copying batches to a device while it works on those before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

__all__ = ["copied_ahead", "fits"]


def fits(tensors: Iterable[Tensor], device: torch.device) -> bool:
    """Whether tensors take at most half of the memory that is free on a device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(t.numel() * t.element_size() for t in tensors) <= free // 2


def copied_ahead(
    batches: Iterator[tuple[Tensor, Tensor | None]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield batches on `device`; each is copied, from pinned memory, while the one before it is worked on."""
    if device.type != "cuda":
        yield from ((x.to(device), None if c is None else c.to(device)) for x, c in batches)
        return
    stream = torch.cuda.Stream(device)
    waiting: list[tuple[Tensor, Tensor | None, torch.cuda.Event]] = []
    for x, context in batches:
        with torch.cuda.stream(stream):
            x = x.pin_memory().to(device, non_blocking=True)
            if context is not None:
                context = context.pin_memory().to(device, non_blocking=True)
            waiting.append((x, context, stream.record_event()))
        if len(waiting) > 1:
            yield _ready(*waiting.pop(0))
    for copied in waiting:
        yield _ready(*copied)


def _ready(x: Tensor, context: Tensor | None, copied: torch.cuda.Event) -> tuple[Tensor, Tensor | None]:
    """Let the present stream wait for a copy, and keep its memory until that stream is done with it."""
    here = torch.cuda.current_stream(x.device)
    here.wait_event(copied)
    for tensor in (x, context):
        if tensor is not None:
            tensor.record_stream(here)
    return x, context
