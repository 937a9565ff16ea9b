"""Importance weights of a guide's draws, and what they tell."""
