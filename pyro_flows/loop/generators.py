"""Random numbers that depend on the seed and the step alone, so that no generator's state need be saved."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["restored_generators", "seed_generators"]


def seed_generators(*key: int, device: torch.device | None) -> None:
    """Seed torch's, numpy's and Python's global generators from non-negative integers.

    Args:
        *key: the integers.
        device: that numbers are drawn on; any that is in use if None.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (data sets and modules draw from the global generator)
    if device is None and torch.cuda.is_initialized():
        device = torch.device("cuda")
    if device is None or device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # torch.manual_seed walks all devices: 0.1 ms
    else:
        torch.manual_seed(seed)


@contextmanager
def restored_generators(device: torch.device | None) -> Iterator[None]:
    """Give the caller's generators back as they were.

    Args:
        device: that numbers are drawn on; any that is in use if None.
    """
    devices: Iterable[Any]
    if device is None:
        devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    else:
        devices = [device] if device.type == "cuda" else []
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)
