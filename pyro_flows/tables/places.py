"""Which of a column's listed values its cells hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .values import Array

__all__ = ["places", "sort_of"]

# The types that round numbers more coarsely than doubles, by pandas' names, the coarsest first.
_NARROW: dict[str, Any] = {
    "float16": np.float16,
    "halffloat[pyarrow]": np.float16,
    "float32": np.float32,
    "Float32": np.float32,
    "float[pyarrow]": np.float32,
}


def sort_of(value: Any) -> str:
    """Return what a cell is, in the plural."""
    if isinstance(value, bool | np.bool_):
        return "Booleans"
    return "texts" if isinstance(value, str) else "numbers"


def places(values: Array, missing: Array, listed: list[Any], *, dtypes: Sequence[str] = ()) -> Array:
    """Return which of the listed values each cell holds: −1 for none, −2 for a gap that is not listed.

    Args:
        values: the cells, of which `missing` are gaps.
        missing: which cells are gaps.
        listed: the values, of which the first may be None, a gap.
        dtypes: the types of the column that was fitted and of the given one. In a copy in single precision
            0.1 is another double, and still the listed value.
    """
    import pandas as pd

    gap = len(listed) > 0 and listed[0] is None
    known = listed[gap:]
    found = np.full(len(values), -1)
    if known:
        found = pd.Index(known).get_indexer(values)
        narrow = next((dtype for name, dtype in _NARROW.items() if name in dtypes), None)
        if narrow is not None and values.dtype != object:
            found = np.where(found < 0, _rounded(values, known, narrow), found)
    return np.where(missing, 0 if gap else -2, np.where(found < 0, -1, found + gap))


def _rounded(values: Array, known: list[Any], dtype: Any) -> Array:
    """Return which of the known numbers are the values if both are rounded to `dtype`, or −1."""
    import pandas as pd

    numbers = np.array([j for j, value in enumerate(known) if sort_of(value) == "numbers"])
    if not len(numbers):
        return np.full(len(values), -1)
    with np.errstate(over="ignore"):
        cells, wanted = (
            np.asarray(x, np.float64).astype(dtype) for x in (values, [known[j] for j in numbers])
        )
    index = pd.Index(wanted.astype(np.float64))
    first = ~index.duplicated()
    found = index[first].get_indexer(cells.astype(np.float64))
    return np.where(found < 0, -1, numbers[first][found])
