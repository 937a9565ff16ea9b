"""Numbers that tell a run's data from others."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...loop.checksum import checksum

__all__ = ["checksums"]


def checksums(**tensors: Sequence[Tensor | None]) -> dict[str, int]:
    """Return the checksum of tensors by name.

    The names are those in errors, such as "data with the checksum".
    """
    given = {name: [t for t in these if t is not None] for name, these in tensors.items()}
    return {f"{name} with the checksum": checksum(these) for name, these in given.items() if these}
