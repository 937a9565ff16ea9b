"""Data as users have them: where batches come from, and what units they are in."""

from .data import Data
from .reading import source_of
from .sources import Source, inner_source, rows_at_once

__all__ = ["Data", "Source", "inner_source", "rows_at_once", "source_of"]
