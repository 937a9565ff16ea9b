"""Full precision under autocast, for maps that have to be inverted."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off on the device of x: networks may be coarse, but not a map that is inverted."""
    kind = x.device.type
    casts = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if casts else nullcontext()
