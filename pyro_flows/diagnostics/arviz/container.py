"""The one place that knows ArviZ: `InferenceData` of 0.x, `DataTree` from 1.0 on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Groups", "container"]

Groups = Mapping[str, Mapping[str, tuple[Sequence[str], Any]]]
_MISSING = "this needs ArviZ: pip install 'pyro-flows[arviz]'"


def container(groups: Groups, coords: Mapping[str, Any], attrs: Mapping[str, Any]) -> Any:
    """Return groups of named arrays, each with its dimensions, in what the installed ArviZ works with.

    Args:
        groups: for each group, names of dimensions and array by the variable's name.
        coords: labels by dimension; 0, 1, … for those not given.
        attrs: attributes of the whole.

    Raises:
        ImportError: without ArviZ.
        ValueError: where there is no dimension of a name in `coords`, or it has another size.
    """
    dims = {dim for variables in groups.values() for names, _ in variables.values() for dim in names}
    if unknown := sorted(set(coords) - dims):
        raise ValueError(f"expected coords of {sorted(dims)}; got {unknown}")
    old = _old()
    try:
        import xarray
    except ImportError as error:
        raise ImportError(_MISSING) from error
    datasets = {}
    for group, variables in groups.items():
        sizes = {
            dim: n for dims, array in variables.values() for dim, n in zip(dims, array.shape, strict=True)
        }
        labels = {dim: coords.get(dim, range(n)) for dim, n in sizes.items()}
        if variables:
            datasets[group] = xarray.Dataset(dict(variables), coords=labels, attrs=dict(attrs))
    if old is not None:
        return old.InferenceData(**datasets, attrs=dict(attrs))
    try:
        import arviz_base  # noqa: F401  (what reads a DataTree)
    except ImportError as error:
        raise ImportError(_MISSING) from error
    tree = xarray.DataTree.from_dict(datasets)
    tree.attrs = dict(attrs)
    return tree


def _old() -> Any:
    """Return ArviZ 0.x, or None where it isn't installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # 0.23 announces 1.0
            import arviz
    except ImportError:
        return None
    return arviz if hasattr(arviz, "InferenceData") else None
