"""Files that are whole or absent, whenever the process is killed, and that only the same run reads back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Checkpoint", "identity_of", "load", "resumed_seed", "save"]

State = dict[str, Any]


def save(state: State, path: str | os.PathLike[str], *, kind: str, version: int) -> None:
    """Write `state` to `path` at once: to a temporary file beside it, which is then renamed.

    Args:
        state: tensors and plain Python values only, so that `torch.load(weights_only=True)` reads it.
        path: of the file; its folder is made if need be.
        kind: what the file is, such as "model".
        version: of the format of this kind of file; another one for every change of what `state` holds.

    Raises:
        TypeError: if a value would make the file unreadable.
    """
    _check_plain(state, "state")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # always this: a killed run leaves one at most
    try:
        with temporary.open("wb") as file:
            torch.save({"kind": kind, "format": version} | state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_plain(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, f"a key of {name}")
            _check_plain(entry, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for i, entry in enumerate(value):
            _check_plain(entry, f"{name}[{i}]")
    elif not isinstance(value, Tensor) and type(value) not in (bool, int, float, str, bytes, type(None)):
        raise TypeError(f"expected {name} as a tensor or a plain Python value; got {type(value).__name__}")


def load(path: str | os.PathLike[str], *, kind: str, version: int) -> State:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, is a file of another kind, or has a format other than `version`.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)} is no readable {kind} file: it may be cut short") from error
    if not isinstance(state, dict) or state.get("kind") != kind:
        raise ValueError(f"{os.fspath(path)} is no {kind} file of pyro_flows")
    found = state.get("format", 0)
    if found != version:
        older = "use the pyro_flows that wrote it, or start anew"
        remedy = "update pyro_flows" if found > version else older
        raise ValueError(
            f"expected a {kind} file of format {version}; got {os.fspath(path)} of format {found}: {remedy}"
        )
    return state


def identity_of(settings: Any, weights: Mapping[str, Tensor], *, without: tuple[str, ...]) -> State:
    """Return what a resumed run must share with the one before: settings and the shapes of its weights.

    Args:
        settings: a dataclass; of a function among its fields the name counts.
        weights: tensors by name.
        without: fields that a resumed run may change.
    """
    told = {name: value for name, value in vars(settings).items() if name not in without}
    told = {name: name_of(value) if callable(value) else value for name, value in told.items()}
    return told | {f"{name} of shape": list(value.shape) for name, value in weights.items()}


def name_of(function: Any) -> str:
    """Return a function's qualified name, or what else tells it from others."""
    return getattr(function, "__qualname__", repr(function))


def resumed_seed(given: int | None, theirs: int, path: str | os.PathLike[str] | None) -> int:
    """Return the seed of the run that wrote a file.

    Raises:
        ValueError: if another one is given.
    """
    if given not in (None, theirs):
        raise ValueError(f"{path} is of another run: expected seed {theirs}; got {given}")
    return theirs


class Checkpoint:
    """A run's file and its clock.

    Args:
        path: of the file; None for none, which leaves the clock.
        kind: what run it is, as in `save`.
        version: of the format, as in `save`.
        every: seconds between two checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, kind: str, version: int, every: float) -> None:
        self.path, self.kind, self.version, self.every = path, kind, version, every
        self.started = self.saved = time.perf_counter()

    @property
    def is_due(self) -> bool:
        """Whether there is a file, and its last state is that old."""
        return self.path is not None and time.perf_counter() - self.saved >= self.every

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run, interruptions left out."""
        return time.perf_counter() - self.started

    def save(self, state: Callable[[], State], identity: Callable[[], State]) -> None:
        """Write the file, if there is to be one."""
        self.saved = time.perf_counter()
        if self.path is not None:
            whole = {"identity": identity(), "seconds": self.seconds} | state()
            save(whole, self.path, kind=self.kind, version=self.version)

    def load(self) -> State | None:
        """Read the file, or return None if there is none yet."""
        if self.path is None or not os.path.exists(self.path):
            return None
        return load(self.path, kind=self.kind, version=self.version)

    def resume(self, state: State, identity: State) -> None:
        """Go on by the clock of the run that wrote `state`.

        Raises:
            ValueError: if its identity is another; names the first difference.
        """
        theirs = state["identity"]
        for name in theirs | identity:
            if theirs.get(name) != identity.get(name):
                raise ValueError(
                    f"{self.path} is of another run: expected {name} {theirs.get(name)}; "
                    f"got {identity.get(name)}"
                )
        self.saved = time.perf_counter()
        self.started = self.saved - state["seconds"]
