"""Summing discrete sites out of a model's log-joint, by the tensor contraction of Pyro's `TraceEnum_ELBO`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.rings import LogRing
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from .program import Site, samples
from .scoring import log_density, unscaled_log_density

__all__ = ["Enumerate", "Term", "summed_out"]


class Enumerate(EnumMessenger):
    """Enumerates discrete sites, as Pyro's does; also upstream of sites with given values, and under vmap."""

    def _pyro_sample(self, msg: Any) -> None:
        # Of a site that has its value, Pyro's forgets what it depends on; one that is observed it keeps.
        super()._pyro_sample({**msg, "done": False, "is_observed": True} if msg["done"] else msg)

    def _pyro_post_sample(self, msg: Any) -> None:
        fn, value = msg["fn"], msg["value"]
        if value is None or not isinstance(fn, TorchDistributionMixin):
            return
        shape = value.shape[: value.dim() - fn.event_dim]
        ids = msg["infer"].setdefault("_dim_to_id", {})
        ids.update(self._param_dims.get(msg["name"], {}))
        spanned = {dim: i for dim, i in ids.items() if len(shape) >= -dim and shape[dim] > 1}
        self._value_dims[msg["name"]] = spanned


@dataclass(frozen=True)
class Term:
    """A part of the log-joint with its discrete sites summed out."""

    names: tuple[str, ...]
    """The sites that it is of; those summed out are not named."""
    log_density: Tensor
    """Over the plates that all of its sites share, each at its own dimension."""
    plates: dict[int, str]
    """Names of these plates by dimension."""

    def over(self, plates: dict[int, str]) -> Tensor:
        """Return its sum over all plates but the given ones."""
        others = [dim for dim in self.plates if dim not in plates and self.log_density.dim() >= -dim]
        return self.log_density.sum(others, keepdim=True) if others else self.log_density


class _ExactLogRing(LogRing):
    _backend = "pyro_flows.infer.model.log_einsum"


@dataclass(frozen=True)
class _Factor:
    name: str
    value: Tensor  # packed
    plates: frozenset[str]  # as symbols
    scale: Any
    enumerated: bool

    @property
    def dims(self) -> str:
        """The symbols of the value's dimensions."""
        dims: str = self.value._pyro_dims  # type: ignore[attr-defined]  # what Pyro's packing adds
        return dims


def summed_out(trace: Trace, without: Iterable[str] = ()) -> list[Term]:
    """Return the log-joint of a trace that was run with discrete sites enumerated, term by term.

    Sites that depend on a common discrete site make one term; any other site makes one by itself.

    Args:
        trace: of the model under `pyro.poutine.enum`.
        without: names of sites to leave out.

    Raises:
        ValueError: if sites that depend on one discrete site have different scales.
    """
    plates: dict[str, str] = {}
    trace.symbolize_dims(plates)
    names = {symbol: name for name, symbol in plates.items()}
    skipped = set(without)
    factors: list[_Factor] = []
    terms: list[Term] = []
    for name, site in samples(trace).items():
        if name in skipped or site["infer"].get("_deterministic"):
            continue
        factor = _factor(name, site, frozenset(plates[f.name] for f in _frames(site)))
        if factor.enumerated or set(factor.dims) - set(names):
            factors.append(factor)
        else:
            terms.append(Term((name,), log_density(site), {f.dim: f.name for f in _frames(site)}))
    for group, dims in _components(factors, set(names)):
        terms.append(_contracted(group, dims, trace, names))
    return terms


def _frames(site: Site) -> list[Any]:
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def _factor(name: str, site: Site, plates: frozenset[str]) -> _Factor:
    symbols = site["infer"]["_dim_to_symbol"]
    enumerated = site["infer"].get("_enumerate_dim") is not None
    value = unscaled_log_density(site, enumerated=enumerated)
    # Batch dimensions that are in no plate belong together, and have no symbol.
    loose = [dim for dim in range(-value.dim(), 0) if value.shape[dim] > 1 and dim not in symbols]
    if loose:
        value = value.sum(loose, keepdim=True)
    return _Factor(name, packed.pack(value, symbols), plates, site["scale"], enumerated)


def _components(factors: Sequence[_Factor], plates: set[str]) -> list[tuple[list[_Factor], set[str]]]:
    """Return the factors that share enumerated dimensions, together with these dimensions."""
    groups: list[tuple[list[_Factor], set[str]]] = []
    for factor in factors:
        dims = set(factor.dims) - plates
        joined = [group for group in groups if group[1] & dims]
        rest = [group for group in groups if not group[1] & dims]
        members = [member for group in joined for member in group[0]]
        groups = [*rest, ([*members, factor], dims.union(*(group[1] for group in joined)))]
    return groups


def _contracted(group: list[_Factor], dims: set[str], trace: Trace, names: dict[str, str]) -> Term:
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for factor in group:
        tree.setdefault(factor.plates, []).append(factor.value)
    sizes: dict[str, int] = {}
    for factor in group:
        sizes.update(zip(factor.dims, factor.value.shape, strict=True))
    found = contract_tensor_tree(tree, dims, ring=_ExactLogRing(dim_to_size=sizes))
    ((plates, (value,)),) = found.items()
    value = packed.scale_and_mask(value, scale=_common_scale(group))
    return Term(
        tuple(factor.name for factor in group if not factor.enumerated),
        packed.unpack(value, trace.symbol_to_dim),
        {trace.symbol_to_dim[symbol]: names[symbol] for symbol in plates},
    )


def _common_scale(group: list[_Factor]) -> Any:
    first = group[0].scale
    for factor in group:
        if factor.scale is not first and not _equal(factor.scale, first):
            raise ValueError(
                "expected one scale for all sites that depend on a discrete one; got different ones for "
                f"{group[0].name!r} and {factor.name!r}"
            )
    return first


def _equal(a: Any, b: Any) -> bool:
    return bool(torch.as_tensor(a).equal(torch.as_tensor(b)))
