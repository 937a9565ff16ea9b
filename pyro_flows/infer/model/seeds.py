"""Random numbers that are the same each time, and runs without Pyro's argument checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch
from torch import Tensor

__all__ = ["fixed_seed", "generator_states", "unvalidated"]


def generator_states(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that a model on a device may draw from."""
    states = [torch.random.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


@contextmanager
def fixed_seed(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Draw the same random numbers each time; the caller's generators are given back as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def unvalidated() -> Iterator[None]:
    """Switch Pyro's argument checks off: a third of a small model's time."""
    with pyro.validation_enabled(False):
        yield
