"""Two processes of one process group."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, multiprocessing


def two_ranks(work: Callable[..., Any], *args: Any) -> Any:
    """Return what `work(rank, *args)` gives in the first of two processes that run it together.

    The arguments and the result, of plain numbers and lists, are pickled.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_process, (port, queue, work, args), nprocs=2)
    return queue.get()


def _process(rank: int, port: int, queue: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    result = work(rank, *args)
    if rank == 0:
        queue.put(result)
    distributed.destroy_process_group()
