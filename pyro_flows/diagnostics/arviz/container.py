"""What the installed ArviZ reads: `InferenceData` with 0.x, `xarray.DataTree` with 1.0 or later."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["Groups", "attributes", "check_names", "container"]

Groups = Mapping[str, Mapping[str, tuple[Sequence[str], Any]]]
_MISSING = "this needs ArviZ: pip install 'pyro-flows[arviz]'"


def container(groups: Groups, coords: Mapping[str, Any], attrs: Mapping[str, Any]) -> Any:
    """Return groups of named arrays, each with its dimensions, as the installed ArviZ reads them.

    Args:
        groups: for each group, the names of the dimensions and the array, by the variable's name.
        coords: labels by dimension; 0, 1, … for those not given.
        attrs: attributes of the whole and of each group.

    Raises:
        ImportError: without ArviZ.
        ValueError: if the labels of a dimension are not as many as its size, or a variable and a dimension
            have one name, or two dimensions of a variable.
    """
    old = _old()
    try:
        import xarray
    except ImportError as error:
        raise ImportError(_MISSING) from error
    datasets = {}
    for group, variables in groups.items():
        _check_dimensions(variables)
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


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a ValueError if `given` holds a name that isn't known."""
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"expected {what} of {sorted(set(known))}; got {unknown}")


def _check_dimensions(variables: Mapping[str, tuple[Sequence[str], Any]]) -> None:
    used = {dim for dims, _ in variables.values() for dim in dims}
    for name, (dims, _) in variables.items():
        if name in used:
            raise ValueError(f"expected names that no dimension in ArviZ has; got a site called {name!r}")
        if len(set(dims)) < len(dims):
            told = ", ".join(dims)
            raise ValueError(f"expected dimensions of {name!r} that differ; got {told}: name them by `dims`")


def attributes() -> dict[str, str]:
    """Return the attributes that ArviZ's own converters set."""
    now = datetime.datetime.now(datetime.UTC)
    return {"created_at": now.isoformat(), "inference_library": "pyro_flows"}


def _old() -> Any:
    """Return ArviZ 0.x, or None if it isn't installed."""
    try:
        # By version: 1.3 has an `arviz.InferenceData` again, a deprecated name of DataTree.
        if int(version("arviz").split(".")[0]) >= 1:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # 0.23 announces 1.0
            import arviz
    except (ImportError, PackageNotFoundError):
        return None
    return arviz
