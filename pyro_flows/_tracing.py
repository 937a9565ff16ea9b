"""How code is run: eagerly, by `torch.compile` or `torch.func`; and whether gradients will be wanted.

Imports nothing of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import torch


def is_functorch() -> bool:
    """Whether a `torch.func` transform (vmap, grad, …) is running, and Dynamo is not tracing."""
    # Under Dynamo functorch's interpreter stack looks occupied too: ask for compiling first.
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_traced() -> bool:
    """Whether `torch.compile` or `torch.func` is tracing: tensors then stand for values not yet known."""
    return torch.compiler.is_compiling() or is_functorch()


class _Later(local):
    graph = False
    fixed = False


_later = _Later()


@contextmanager
def graph_later() -> Iterator[None]:
    """Switch gradients off for an evaluation that the backward pass will repeat with gradients."""
    outside, _later.graph = _later.graph, True
    try:
        with torch.no_grad():
            yield
    finally:
        _later.graph = outside


@contextmanager
def fixed_statistics() -> Iterator[None]:
    """Let evaluations in training mode leave statistics as they are, as if they were in evaluation mode."""
    outside, _later.fixed = _later.fixed, True
    try:
        yield
    finally:
        _later.fixed = outside


def may_learn() -> bool:
    """Whether an evaluation may update statistics: if gradients are wanted, now or later."""
    if is_functorch():
        return False
    # Compiled code does not read the flags, so that no graph depends on them.
    if torch.compiler.is_compiling():
        return torch.is_grad_enabled()
    return not _later.fixed and (torch.is_grad_enabled() or _later.graph)
