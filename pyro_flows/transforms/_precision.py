"""Maps in full precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["uncast"]


def uncast(x: Tensor) -> AbstractContextManager[Any]:
    """Under autocast networks may be coarse, but not the map itself, which has to be inverted."""
    kind = x.device.type
    casts = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if casts else nullcontext()
