"""Files that are whole or absent, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["load", "save"]


def save(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `state` to `path` at once: to a temporary file beside it, which is then renamed.

    Only tensors and plain Python values belong in it, so that `torch.load(weights_only=True)` reads it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # always this: a killed run leaves one at most
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is cut short, or is no file of this kind.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)} is no readable {kind} file: it may be cut short") from error
    if not isinstance(state, dict) or state.get("kind") != kind:
        raise ValueError(f"{os.fspath(path)} is no {kind} file of pyro_flows")
    return state
