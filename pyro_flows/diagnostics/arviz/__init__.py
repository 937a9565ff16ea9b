"""The only place that knows ArviZ."""
