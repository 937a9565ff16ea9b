"""What a transform remembers of its last evaluation, and when it forgets it.

Pyro and torch cache the last pair ``(x, y)`` and return it whenever the same tensor is passed again, even
after an optimiser step. Here a pair is stored with a *fingerprint* of everything that it depends on, and is
returned only while that fingerprint is unchanged.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

from torch import Tensor, nn

from ._fingerprint import Fingerprint, Outline, Steps, fingerprint, version
from ._tracing import is_traced


class _Entry(NamedTuple):
    source: Tensor
    result: weakref.ref[Tensor]
    versions: tuple[int, int]
    log_det: Tensor  # of the map source -> result
    forward: bool  # whether that map is the transform's forward
    fingerprint: Fingerprint


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

    __slots__ = ("__weakref__", "_entry", "_outline", "_served", "_traced")

    def __init__(self) -> None:
        self._entry: _Entry | None = None
        self._outline: Outline | None = None
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
            self._fingerprint(module),
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
        if unchanged and entry.fingerprint == self._fingerprint(module):
            return True
        self._entry = None
        return False

    def _fingerprint(self, module: nn.Module) -> Fingerprint:
        marks, self._outline = fingerprint(module, self._outline)
        return marks
