"""The progress bar, if tqdm is installed."""

from __future__ import annotations

from typing import Any

__all__ = ["progress_bar"]


class _Silent:
    def update(self, n: int) -> None:
        """Show nothing."""

    def set_postfix_str(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


def progress_bar(total: int, initial: int, *, shown: bool, unit: str = "epoch") -> Any:
    """Return a tqdm bar, or something silent in its place."""
    if not shown:
        return _Silent()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Silent()
    return tqdm(total=total, initial=initial, unit=unit)
