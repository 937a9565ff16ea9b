"""How the benchmarks measure: turns within one process, bytes saved for the backward pass, bytes at peak."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn


def turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds that each run took in each round, the one that warms up apart.

    The order is drawn anew for each round: who runs after whom changes a short run by a tenth.
    """
    names, seconds, draw = list(runs), {name: [] for name in runs}, random.Random(0)
    for i in range(rounds + 1):
        for name in draw.sample(names, len(names)):
            start = time.process_time()
            runs[name]()
            if i:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    """Return the median and the quartiles of the rounds' ratios."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(above, below, strict=True)), n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def saved_bytes(loss: Callable[[], Tensor], module: nn.Module) -> int:
    """Return the bytes of the distinct storages that autograd keeps for the backward pass of `loss()`.

    The module's own parameters and buffers are left out.
    """
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}  # with an alias, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor.detach()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()
    del value
    return sum(size for size, _ in kept.values())


def peak_bytes(step: Callable[[], object]) -> int:
    """Return the most that torch's CPU allocator held during `step` above what it holds after it."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = list(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))
    return max(held) - held[-1]  # not the start: what was allocated before is freed without an event
