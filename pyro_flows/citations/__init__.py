"""The papers that the parts of a flow come from."""

from .citation import citation

__all__ = ["citation"]
