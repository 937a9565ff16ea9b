"""The one room that knows ArviZ."""
