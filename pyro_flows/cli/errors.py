"""What a user did wrong, in one line."""

__all__ = ["InputError"]


class InputError(Exception):
    """Ends the command with its message and a non-zero exit code."""
