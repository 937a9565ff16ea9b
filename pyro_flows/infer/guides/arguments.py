"""What tells a model's arguments from others: their shapes, or a digest of all that they hold."""

from __future__ import annotations

import hashlib
import zlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from operator import length_hint
from types import NoneType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...loop.checkpoint import name_of
from ...loop.checksum import checksum

__all__ = ["digest_of", "shapes_of"]

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, range, slice, Enum, torch.dtype, torch.device)


def shapes_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what can be hashed: plain values as they are, inside containers too, and arrays' shapes."""
    return _told((args, dict(kwargs)), lambda array: tuple(array.shape))


def digest_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return a digest of plain values and of arrays' elements, inside containers too, on whatever device.

    Of tensors that are learned the shape counts, and of other objects the type.
    """
    return hashlib.sha256(repr(_told((args, dict(kwargs)), _elements)).encode()).hexdigest()[:16]


def _told(value: Any, array: Callable[[Any], Any]) -> Any:
    if isinstance(value, _PLAIN):
        return repr(value)
    kind = type(value).__qualname__
    if isinstance(value, Mapping):
        return kind, *sorted((repr(key), _told(entry, array)) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return kind, *(_told(entry, array) for entry in value)
    if isinstance(value, set | frozenset):
        return kind, *sorted(map(repr, value))
    if isinstance(value, SimpleNamespace | Namespace):
        return _told(vars(value), array)
    if isinstance(value, type):
        return value.__qualname__
    if is_dataclass(value):
        return _told({field.name: getattr(value, field.name, None) for field in fields(value)}, array)
    if isinstance(getattr(value, "shape", None), tuple):
        return array(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return name_of(value)
    return kind, length_hint(value, -1)


def _elements(array: Any) -> tuple[Any, ...]:
    if isinstance(array, Tensor):
        if array.requires_grad:
            return tuple(array.shape), str(array.dtype)
        return (checksum([array if array.layout == torch.strided else array.to_dense()]),)
    values = np.asarray(array)
    held = repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()
    return values.shape, str(values.dtype), zlib.crc32(held)
