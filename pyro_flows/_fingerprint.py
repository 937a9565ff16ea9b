"""Marks of all that an evaluation of a module depends on besides its input, found fast."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable
from operator import is_
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

__all__ = ["Fingerprint", "Outline", "Steps", "fingerprint", "version"]

Fingerprint = tuple[Any, ...]


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
    """Return how often a tensor was written to; −1 for those of inference mode, which do not count."""
    return -1 if tensor.is_inference() else tensor._version


class Outline:
    """The modules and tensors that a module holds; asking whether they changed is faster than to look again.

    Refers to the dictionaries of the module itself and not to the module, so that no cycle keeps it alive.
    """

    __slots__ = ("empty", "full", "inner", "samples", "tensors")

    def __init__(self, module: nn.Module) -> None:
        self.inner: list[nn.Module] = []
        self.tensors: list[Tensor] = []
        self.empty: list[Collection[Any]] = []
        self.full: list[tuple[dict[str, Any], list[Any]]] = []
        self.samples: list[Collection[Any]] = []  # of Bayesian weights, which are drawn at each access
        modules = [module]
        while modules:
            here = modules.pop()
            if here is not module:
                self.inner.append(here)
            for held in (here._parameters, here._buffers):
                self._note(held)
                self.tensors += [t for t in held.values() if t is not None]
            self._note(here._modules)
            modules += [child for child in here._modules.values() if child is not None]
            if "_pyro_samples" in here.__dict__:
                self.samples.append(here.__dict__["_pyro_samples"])
            self.tensors += here.__dict__.get("constants", ())

    def _note(self, held: dict[str, Any]) -> None:
        if held:
            self.full.append((held, [*held.values()]))
        else:
            self.empty.append(held)

    def holds(self) -> bool:
        """Whether all modules and tensors are still the same objects."""
        return not any(self.empty) and all(
            len(held) == len(values) and all(map(is_, held.values(), values)) for held, values in self.full
        )


def fingerprint(module: nn.Module, known: Outline | None) -> tuple[Fingerprint, Outline]:
    """Return marks of all that an evaluation of `module` depends on besides its input, and its outline.

    Marks are equal only if nothing changed in between; keep the outline with them, so that none of its
    tensors' ids is used again.

    Args:
        module: the module.
        known: its outline at an earlier time.
    """
    outline = known if known is not None and known.holds() else Outline(module)
    tensors = outline.tensors
    try:
        versions = [t._version for t in tensors]
    except RuntimeError:  # tensors of inference mode have no version
        versions = [version(t) for t in tensors]
    return (
        Steps.count,
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        object() if any(outline.samples) else id(outline),
        module.training,
        [part.training for part in outline.inner],
        versions,
        [t.data_ptr() for t in tensors],
        [t.requires_grad for t in tensors],
    ), outline
