"""Tables of real numbers from packages, split into rows to train on, to choose by, and to test on.

Columns are standardised by the training rows. Noise of 0.05 of a standard deviation (0.1 for digits) makes a
density of columns with ties. "protein" is UCI's, from an .npz file with `x_train` and `x_test`; the others
come with statsmodels and scikit-learn.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["TABLES", "Split", "split"]


class Split(NamedTuple):
    """Seven tenths of the rows to train on, and two parts of the rest."""

    train: Tensor
    choice: Tensor
    test: Tensor


def _statsmodels(name: str) -> np.ndarray:
    import statsmodels.datasets

    return getattr(statsmodels.datasets, name).load_pandas().data.to_numpy(np.float64)


def _sklearn(name: str) -> np.ndarray:
    import sklearn.datasets

    return getattr(sklearn.datasets, f"load_{name}")().data


def _protein(folder: str) -> np.ndarray:
    with np.load(pathlib.Path(folder) / "uci_protein.npz") as arrays:
        return np.concatenate([arrays["x_train"], arrays["x_test"]]).astype(np.float64)


TABLES: dict[str, Callable[[str], np.ndarray]] = {
    "protein": _protein,
    "randhie": lambda _: _statsmodels("randhie"),
    "fair": lambda _: _statsmodels("fair"),
    "star98": lambda _: _statsmodels("star98"),
    "digits": lambda _: _sklearn("digits"),
    "breast": lambda _: _sklearn("breast_cancer"),
}


@functools.cache
def split(name: str, folder: str) -> Split:
    """Return the parts of a table, the same for every seed; `folder` holds the protein file."""
    rows = torch.from_numpy(TABLES[name](folder))
    generator = torch.Generator().manual_seed(7)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    held = len(rows) * 3 // 20
    train = rows[2 * held :]
    scale = train.std(0)
    rows = (rows - train.mean(0)) / torch.where(scale > 0, scale, 1)
    noise = {"digits": 0.1, "breast": 0.0}.get(name, 0.05)
    rows = (rows + noise * torch.randn(rows.shape, generator=generator, dtype=rows.dtype)).float()
    return Split(rows[2 * held :], rows[:held], rows[held : 2 * held])
