"""What the values of a column are: real, whole, in a few levels, categories, dates."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .dates import is_date, unit_of
from .disguised import check_no_disguise, is_plain_number
from .scores import LEAST
from .values import Array, plain, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Kind"]

KINDS = ("real", "positive", "fraction", "integer", "ordinal", "categorical", "boolean", "date")

FEW = 12  # so many whole numbers are levels
REPEATED = 20  # and so are others that occur so often, in the mean: a density has no bound there


@dataclass(frozen=True)
class Kind:
    """What a column's values are.

    Args:
        name: one of

            - "real": any number;
            - "positive": numbers above 0, with 0 itself as a listed value if it occurs;
            - "fraction": numbers between 0 and 1, which are themselves listed if they occur;
            - "integer": whole numbers, from 0 if none is negative;
            - "ordinal": the numbers that occur, and no others;
            - "categorical", "boolean": the values that occur, or a pandas categorical's categories;
            - "date": whole numbers of `unit` since 1970.
        dtype: pandas' name of the column's type.
        listed: the values that have a probability of their own, in order.
        unit: "D", "s", "ms", "us" or "ns" for dates.
        low, high: bounds of the values that are not listed.
        categories: a pandas categorical's, in its order.
        ordered: whether that is ordered.
    """

    name: str
    dtype: str
    listed: list[Any]
    unit: str | None = None
    low: float = -math.inf
    high: float = math.inf
    categories: list[Any] | None = None
    ordered: bool = False

    @property
    def is_listed(self) -> bool:
        """Whether no other values are possible than the listed ones."""
        return self.name in ("ordinal", "categorical", "boolean")

    @property
    def is_whole(self) -> bool:
        """Whether values are counts."""
        return self.name in ("integer", "date")

    @property
    def is_density(self) -> bool:
        """Whether values have a density, if they are not listed."""
        return not (self.is_listed or self.is_whole)

    @classmethod
    def of(cls, series: pd.Series, name: str | None = None) -> Kind:
        """Return the kind of a column, inferred from its values if no `name` is given.

        Raises:
            TypeError, ValueError: if the cells are nothing that a table can hold, or not of the named kind.
        """
        import pandas as pd

        if name is not None and name not in KINDS:
            raise ValueError(f"column {series.name}: expected a kind among {', '.join(KINDS)}; got {name!r}")
        dtype, series = str(series.dtype), tidy(series)
        if isinstance(series.dtype, pd.CategoricalDtype):
            if name not in (None, "categorical", "boolean"):
                raise TypeError(f"column {series.name}: expected numbers for kind {name}; got categories")
            categories = series.cat.categories.tolist()
            strange = next((c for c in categories if not isinstance(c, str | bool | int | float)), None)
            if strange is not None:
                raise TypeError(
                    f"column {series.name}: expected categories that are texts, numbers or Booleans; got "
                    f"{type(strange).__name__}: make texts of them by .astype(str)"
                )
            return cls(
                name or "categorical", dtype, categories, categories=categories, ordered=series.cat.ordered
            )
        if is_date(series):
            if name not in (None, "date"):
                raise TypeError(f"column {series.name}: expected numbers for kind {name}; got dates")
            return cls("date", str(series.dtype), [], unit=unit_of(series))
        values, missing = plain(series)
        values = values[~missing]
        if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
            return cls._of_objects(series, values, name)
        return cls._of_numbers(str(series.name), str(series.dtype), values, name)

    @classmethod
    def _of_objects(cls, series: pd.Series, values: Array, name: str | None) -> Kind:
        column = str(series.name)
        boolean = len(values) > 0 and all(isinstance(v, bool | np.bool_) for v in values)
        if name not in (None, "categorical", "boolean"):
            odd = next((v for v in values if boolean or not is_plain_number(v)), None)
            got = "gaps only" if not len(values) else _shown(values[0] if odd is None else odd)
            raise TypeError(f"column {column}: expected numbers for kind {name}; got {got}")
        listed = sorted({_unwrapped(v) for v in values}, key=lambda v: (str(type(v)), v))
        if name is None and len(listed) > FEW:
            check_no_disguise(column, values.tolist())
            if len(listed) == len(values):
                raise ValueError(
                    f"column {column}: {len(values)} texts, all different, as an identifier has: leave it "
                    "out, or set its kind to categorical"
                )
        found = "boolean" if boolean else "categorical"
        return cls(name or found, str(series.dtype), listed)

    @classmethod
    def _of_numbers(cls, column: str, dtype: str, values: Array, name: str | None) -> Kind:
        unique, counts = np.unique(values, return_counts=True)
        whole = bool((unique == np.floor(unique)).all())
        if unique.dtype.kind == "f":  # beyond 2⁵³ all doubles are whole
            whole = whole and bool((np.abs(unique) < 2.0**53).all())
        low, high = (float(unique[0]), float(unique[-1])) if len(unique) else (0.0, 0.0)
        is_often = counts >= max(10, 0.02 * len(values))  # a density there has no bound
        if name is None:
            repeated = len(values) >= REPEATED * len(unique) and not _has_new(counts, is_often)
            is_flag = unique.tolist() == [0, 1]
            if len(unique) <= 1 or is_flag or (repeated and (not whole or len(unique) <= FEW)):
                name = "ordinal"
            elif whole:
                name = "integer"
            elif (~is_often).sum() < 2:
                name = "ordinal"
            elif low >= 0 and high <= 1:
                name = "fraction"
            else:
                least = unique[unique > 0][0] if high > 0 else 0.0
                name = "positive" if low == 0 or (low > 0 and high > 10 * least) else "real"
        if name == "date":
            raise TypeError(f"column {column}: expected dates; got {dtype}")
        if name in ("ordinal", "categorical", "boolean"):
            return cls(name, dtype, unique.tolist())
        if len(unique) <= 1:
            raise ValueError(
                f"column {column}: expected more than one value for kind {name}; got {unique.tolist()}"
            )
        if name == "integer":
            if not whole:
                odd = unique[(unique != np.floor(unique)) | (np.abs(unique) >= 2.0**53)][0]
                raise ValueError(f"column {column}: expected whole numbers, below 2⁵³ if doubles; got {odd}")
            return cls(name, dtype, [], low=0.0 if low >= 0 else -math.inf)
        bounds = {"real": (-math.inf, math.inf), "positive": (0.0, math.inf), "fraction": (0.0, 1.0)}[name]
        if low < bounds[0] or high > bounds[1]:
            raise ValueError(
                f"column {column}: expected numbers within {bounds} for kind {name}; got {low} … {high}"
            )
        edges = [v for v in bounds if v in (low, high)]
        listed = sorted({*unique[is_often].tolist(), *edges})
        rest = np.setdiff1d(unique, listed)
        if len(rest) < 2:
            raise ValueError(
                f"column {column}: expected more than one value beside "
                f"{', '.join(f'{v:g}' for v in listed)} for kind {name}; got {rest.tolist()}"
            )
        if name == "real" and not LEAST < float(rest[-1]) - float(rest[0]) < math.inf:
            raise ValueError(
                f"column {column}: expected numbers that span more than {LEAST} and less than 1e308; got "
                f"{rest[0]} … {rest[-1]}"
            )
        return cls(name, dtype, listed, low=bounds[0], high=bounds[1])

    def state(self) -> dict[str, Any]:
        """Return plain values to save."""
        return asdict(self)


def _has_new(counts: Array, is_often: Array) -> bool:
    """Whether a value that is none of the frequent ones is likely to be one never seen.

    Among new rows about as many hold a value never seen as rows hold a value seen once (Good, "The Population
    Frequencies of Species", 1953). So amounts that are mostly 0 are told from levels of which some are rare.
    """
    once = (counts == 1).sum()
    return bool(once > max(is_often.sum(), counts[~is_often].sum() / 5))


def _unwrapped(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _shown(value: Any) -> str:
    return repr(value)[:30]
