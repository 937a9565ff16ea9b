"""Which columns of a file are wanted, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import InputError
from .lines import tell

__all__ = ["Choice"]


@dataclass(frozen=True)
class Choice:
    """The columns that are wanted of a file.

    Args:
        columns: names, or numbers counted from 0; None for all.
        drop: names or numbers of columns to leave out.
        model: the names of the columns that a model needs, if there is one.
        in_order: whether these are in the order of the file that the model was fitted to, so that columns of
            other names, or of none, can be told by their places.
    """

    columns: Sequence[str] | None = None
    drop: Sequence[str] = ()
    model: Sequence[str] = ()
    in_order: bool = True

    def of(self, names: Sequence[str], path: str) -> dict[int, str]:
        """Return the places of the columns among those of the file, in the wanted order, and their names."""
        names = list(names)
        places = list(range(len(names)))
        if self.columns is not None:
            places = [_place(name, names, path) for name in self.columns]
        if len(set(places)) < len(places):
            raise InputError(f"{path}: a column is chosen twice")
        left_out = {_place(name, names, path) for name in self.drop}
        chosen = {place: names[place] for place in places if place not in left_out}
        if not chosen:
            raise InputError(f"{path}: no columns are left")
        if not self.model:
            return chosen
        by_place = self.columns is not None or _unnamed(names) or _unnamed(self.model)
        return self._of_model(chosen, by_place and self.in_order, path)

    def _of_model(self, chosen: dict[int, str], by_place: bool, path: str) -> dict[int, str]:
        absent = [name for name in self.model if name not in chosen.values()]
        if not absent:
            return {place: name for place, name in chosen.items() if name in self.model}
        if len(chosen) != len(self.model) or not by_place:
            wanted = ", ".join(self.model[:20])
            raise InputError(f"{path}: no column {absent[0]}; the model has {wanted}")
        tell(f"{path}: columns {_shown(chosen.values())} are taken for {_shown(self.model)}, in this order")
        return dict(zip(chosen, self.model, strict=True))


def _unnamed(names: Sequence[str]) -> bool:
    """Whether columns have only numbers for names, as an array's do."""
    return list(names) == [str(j) for j in range(len(names))]


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _place(name: str, names: list[str], path: str) -> int:
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise InputError(f"{path}: no column {name}; there are {', '.join(names[:20])}")
