"""A function that `torch.compile` makes faster, if it can."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from .generators import restored_generators
from .warning import warn_caller

__all__ = ["Compiled"]


class Compiled:
    """A function of tensors in one compiled graph with its gradient; as it is if that fails.

    `prepare` compiles it for tensors of the shapes it is given. After a failure, or a later call that would
    have to be compiled anew, a warning says why and the function runs eagerly from then on.

    Args:
        function: a plain function, without default arguments, that returns a tensor or several.
        module: holds the parameters and buffers that `function` uses.
        backend: a backend of `torch.compile`, or True for its default.
        still: whether to run eagerly if the function changes parameters or buffers.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        module: nn.Module,
        backend: str | bool,
        *,
        still: bool = False,
    ) -> None:
        self.function, self.module, self.still = function, module, still
        self.ready = self.failed = False
        backend = "inductor" if backend is True else str(backend)
        # The random numbers of eager execution, rather than the compiler's own.
        options: Any = {"fallback_random": True} if backend == "inductor" else None
        self.compiled: Callable[..., Any] = torch.compile(
            _of_its_own(function), fullgraph=True, dynamic=False, backend=backend, options=options
        )

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns."""
        if self.failed or not self.ready:
            return self.function(*args)
        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                return self.compiled(*args)
        except Exception as error:
            self._give_up(error)
            return self.function(*args)

    def prepare(self, *args: Any) -> float:
        """Compile the function and its gradient, leave everything else as it was, and return the seconds."""
        start = time.perf_counter()
        self.ready = True
        modes = [getattr(m, "memory", "plain") for m in self.module.modules()]
        saving = [mode for mode in modes if mode != "plain"]
        if saving:
            self._give_up(f"compiled code would keep more than {saving[0]!r} memory does")
            return 0.0
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        try:
            with _restored(self.module) as moved, restored_generators(parameters[0].device), _quiet():
                found = self.compiled(*args)
                outputs = (found,) if isinstance(found, Tensor) else found
                total = torch.stack([o.sum() for o in outputs]).sum()
                # Not backward(), which would call the hooks of data parallelism.
                torch.autograd.grad(total, parameters, allow_unused=True)
                if self.still and moved():
                    self._give_up("a layer changes its parameters or statistics when it is evaluated")
        except Exception as error:
            self._give_up(error)
        return time.perf_counter() - start

    def _give_up(self, reason: Exception | str) -> None:
        self.failed = True
        if isinstance(reason, Exception):
            reason = f"{type(reason).__name__}: {' '.join(str(reason).split())[:300]}"
        warn_caller(f"the training goes on without torch.compile: {reason}")


def _of_its_own(function: Any) -> FunctionType:
    """Return the function with a new code object, since torch keeps and counts compiled graphs by it."""
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


@contextmanager
def _restored(module: nn.Module) -> Iterator[Callable[[], bool]]:
    """Restore parameters and buffers at the end; yield a function that tells whether any has changed."""
    modules = list(module.modules())
    buffers = [dict(m._buffers) for m in modules]  # compiled code may put others in their place
    tensors = [*module.parameters(), *module.buffers()]
    values = [t.detach().clone() for t in tensors]

    def moved() -> bool:
        rebound = any(
            m._buffers[name] is not t for m, b in zip(modules, buffers, strict=True) for name, t in b.items()
        )
        return rebound or not all(torch.equal(t, v) for t, v in zip(tensors, values, strict=True))

    try:
        yield moved
    finally:
        with torch.no_grad():
            for m, b in zip(modules, buffers, strict=True):
                m._buffers.update(b)
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the compiler's deprecation warnings, which are about its own code."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
