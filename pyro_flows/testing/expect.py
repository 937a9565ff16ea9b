"""What a law says if it does not hold."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["expect", "named"]


def expect(holds: object, message: str) -> None:
    """Raise an `AssertionError` with the message unless `holds` is true."""
    if not holds:
        raise AssertionError(message)


def named(what: str) -> Callable[[str], str]:
    """Return a `msg` for `torch.testing.assert_close` that says what differs before by how much."""
    return lambda message: f"{what}. {message}"
