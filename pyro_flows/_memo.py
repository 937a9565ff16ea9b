"""What a transform remembers of its last evaluation, and when it forgets it.

Pyro and torch cache the last pair ``(x, y)`` and return it whenever the same tensor is passed again, even
after an optimiser step. Here a pair is stored with a *fingerprint* of everything that it depends on, and is
returned only while that fingerprint is unchanged.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from ._tracing import is_traced


class Steps:
    """Counts optimiser steps: fused optimisers change parameters without a new `_version`."""

    count = 0
    fused: ClassVar[weakref.WeakKeyDictionary[Optimizer, int]] = weakref.WeakKeyDictionary()  # last steps
    installed = False

    @classmethod
    def install(cls) -> None:
        if not cls.installed:
            register_optimizer_step_post_hook(cls._after_step)
            cls.installed = True

    @classmethod
    def _after_step(cls, optimiser: Optimizer, *_: Any) -> None:
        # Reading a global counter in a compiled step would recompile it at every step; compiled
        # optimisers bump `_version` instead.
        if not torch.compiler.is_compiling():
            cls.count += 1
            if any(group.get("fused") for group in optimiser.param_groups):
                cls.fused[optimiser] = cls.count

    @classmethod
    def changed(cls, tensors: Iterable[Tensor], since: int) -> bool:
        """Whether a fused optimiser has changed any of these since `count` was `since`."""
        if cls.count == since:
            return False
        ids = {id(tensor) for tensor in tensors}
        moved = (o for o, last in cls.fused.items() if last > since)
        return any(id(p) in ids for o in moved for group in o.param_groups for p in group["params"])


def version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def fingerprint(module: nn.Module) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Return marks of all that an evaluation of `module` depends on besides its input, and the tensors.

    Keep the tensors with the marks, so that none of their ids is used again.
    """
    marks: list[Any] = [Steps.count, torch.is_grad_enabled()]
    for device in ("cpu", "cuda"):
        marks.append(torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device))
    tensors: list[Tensor] = []
    modules = [module]
    while modules:  # most modules hold nothing: asking first halves the time
        here = modules.pop()
        marks.append(here.training)
        inside = here.__dict__
        if inside.get("_pyro_samples"):  # Bayesian weights are drawn at each access
            marks.append(object())
        if here._parameters:
            tensors += [t for t in here._parameters.values() if t is not None]
        if here._buffers:
            tensors += [t for t in here._buffers.values() if t is not None]
        if "constants" in inside:
            tensors += inside["constants"]
        if here._modules:
            modules += [child for child in here._modules.values() if child is not None]
    try:
        marks += [(id(t), t._version, t.data_ptr(), t.requires_grad) for t in tensors]
    except RuntimeError:  # tensors of inference mode have no version
        marks += [(id(t), version(t), t.data_ptr(), t.requires_grad) for t in tensors]
    return tuple(marks), tensors


class _Entry(NamedTuple):
    source: Tensor
    result: weakref.ref[Tensor]
    versions: tuple[int, int]
    log_det: Tensor  # of the map source -> result
    forward: bool  # whether that map is the transform's forward
    fingerprint: tuple[tuple[Any, ...], list[Tensor]]


def _matched(
    source: Tensor, result: Tensor, log_det: Tensor, same: bool, x: Tensor, y: Tensor
) -> Tensor | None:
    if same:
        return log_det if source is x and result is y else None
    return -log_det if source is y and result is x else None


class Memo:
    """The last evaluation of one transform, shared with its inverse; copies and pickles empty.

    The result is referenced weakly; when it is freed, so are the log-det and its autograd graph.
    """

    __slots__ = ("__weakref__", "_entry", "_served", "_traced")

    def __init__(self) -> None:
        self._entry: _Entry | None = None
        self._served = False  # whether the source was returned: then the result is a sample that is scored
        self._traced: tuple[Tensor, Tensor, Tensor, bool] | None = None

    def __reduce__(self) -> tuple[type[Memo], tuple[()]]:
        return Memo, ()

    def clear(self) -> None:
        """Forget everything."""
        self._entry = self._traced = None

    def store(
        self, module: nn.Module, source: Tensor, result: Tensor, log_det: Tensor, *, forward: bool
    ) -> Tensor:
        """Remember `source -> result`; return the tensor to return to the caller in place of `result`."""
        if is_traced():
            # No graph outlives a trace, so plain references will do; `take` drops them.
            self._traced = source, result, log_det, forward
            return result
        Steps.install()
        if result.requires_grad or result is source:
            # An alias that no graph has saved is freed as soon as the caller drops it.
            result = result.view_as(result)
        myself = weakref.ref(self)

        def forget(ref: weakref.ref[Tensor]) -> None:
            memo = myself()
            if memo is not None and memo._entry is not None and memo._entry.result is ref:
                memo._entry = None

        self._traced = None
        self._served = False
        self._entry = _Entry(
            source,
            weakref.ref(result, forget),
            (version(source), version(result)),
            log_det,
            forward,
            fingerprint(module),
        )
        return result

    def recall(self, module: nn.Module, result: Tensor, *, forward: bool) -> Tensor | None:
        """Return the source that `result` was computed from by the opposite map, if nothing changed since."""
        found = self.recall_and_log_det(module, result, forward=forward)
        return None if found is None else found[0]

    def recall_and_log_det(
        self, module: nn.Module, result: Tensor, *, forward: bool
    ) -> tuple[Tensor, Tensor] | None:
        """Return that source and the log-det of the map from `result` to it, if nothing changed since."""
        entry = self._entry
        if entry is None or entry.result() is not result or entry.forward == forward:
            return None
        if is_traced() or result.is_inference() or not self._holds(module, entry, result):
            return None
        self._served = True
        return entry.source, -entry.log_det

    def take(self, module: nn.Module, x: Tensor, y: Tensor, *, forward: bool) -> Tensor | None:
        """Return log|det dy/dx| found when `y` was computed from `x` or `x` from `y`, once."""
        if is_traced():
            traced, self._traced = self._traced, None
            if traced is None:
                return None
            source, result, log_det, ran_forward = traced
            return _matched(source, result, log_det, ran_forward == forward, x, y)
        entry = self._entry
        held = None if entry is None else entry.result()
        if entry is None or held is None:
            return None
        found = _matched(entry.source, held, entry.log_det, entry.forward == forward, x, y)
        if found is None or not self._holds(module, entry, held):
            return None
        if not self._served:  # the log-det of a scoring is needed once; a sample may be scored again
            self._entry = None
        return found

    def _holds(self, module: nn.Module, entry: _Entry, result: Tensor) -> bool:
        unchanged = entry.versions == (version(entry.source), version(result))
        if unchanged and entry.fingerprint[0] == fingerprint(module)[0]:
            return True
        self._entry = None
        return False
