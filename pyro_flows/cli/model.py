"""A fitted flow in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from .. import families
from ..flow import Flow
from ..loop import checkpoint
from ..training import History
from ..transforms import Chain, Standardize
from .errors import InputError

__all__ = ["FAMILIES", "Model"]

FAMILIES = [
    name for name in sorted(families.__all__) if "input_dim" in signature(getattr(families, name)).parameters
]

VERSION = 1  # of the file's format


@dataclass
class Model:
    """A family, its options, the columns it models, and the flow itself."""

    family: str
    options: dict[str, Any]
    columns: list[str]
    flow: Flow
    history: History = field(default_factory=History)

    @classmethod
    def build(cls, family: str, options: dict[str, Any], columns: list[str], data: torch.Tensor) -> Model:
        """Return a new flow of `data`, whose standardisation is its last transform.

        Of the options those count that the family has: a continuous flow has no depth.
        """
        known = signature(getattr(families, family)).parameters
        options = {name: value for name, value in options.items() if name in known}
        return cls(family, options, columns, _flow(family, options, Standardize.of(data)))

    def save(self, path: str) -> None:
        """Write the file, whole or not at all."""
        state = {
            "family": self.family,
            "options": self.options,
            "columns": self.columns,
            "history": vars(self.history),
            "flow": self.flow.state_dict(),
        }
        try:
            checkpoint.save(state, path, kind="model", version=VERSION)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str) -> Model:
        """Read a file that `save` wrote."""
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file")
        try:
            state = checkpoint.load(path, kind="model", version=VERSION)
            if state["family"] not in FAMILIES:
                raise ValueError(f"no flow is called {state['family']}")
            width = len(state["columns"])
            units = Standardize(torch.zeros(width), torch.ones(width))
            model = cls(
                state["family"],
                state["options"],
                state["columns"],
                _flow(state["family"], state["options"], units),
                History(**state["history"]),
            )
            model.flow.load_state_dict(state["flow"])
        except RuntimeError as error:
            raise InputError(f"{path}: not a model of ours: weights of another shape") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = str(error).splitlines()[0]
            raise InputError(
                text if text.startswith(path) else f"{path}: not a model of ours: {text}"
            ) from error
        model.flow.eval()
        return model


def _flow(family: str, options: dict[str, Any], units: Standardize) -> Flow:
    width = units.features.count
    transform = getattr(families, family)(width, **options)
    return Flow(Chain([transform, units]))
