"""Passes that keep little for the backward pass."""
