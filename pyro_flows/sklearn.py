"""A flow as a scikit-learn estimator; needs scikit-learn, and pandas for tables."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from . import tables
from ._arrays import as_tensor
from .flow import Flow
from .tables.frame import check_frame
from .training import History, fit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FlowDensity"]

Rows = Any  # an array, or a data frame
ROWS = 2**14  # scored at once


class FlowDensity(DensityMixin, BaseEstimator):
    """log p(row) by a flow, fitted by maximum likelihood, with scikit-learn's methods.

    Arrays, and data frames of numbers without gaps, are rows of real numbers. A data frame with a column that
    is not of numbers or has missing cells, or any data frame if `kinds` is given, is a table: see
    `pyro_flows.tables`, whose scores are probabilities of what is discrete times densities of what is not.

    Rows of weight zero are left out. Training is by random batches, so that a weight of two does not
    give exactly the flow that a repeated row does.

    Args:
        family: returns a transform of vectors when called with their length, such as `pyro_flows.maf`;
            `pyro_flows.tables.column_by_column` if None.
        kinds: kinds of columns of a table that are not to be inferred, such as {"zip": "categorical"}: see
            `pyro_flows.tables.Kind`.
        epochs: passes over the rows; None makes about 8,000 steps of it, at least 10 passes.
        batch_size: rows a step.
        learning_rate: Adam's at the start.
        validation: fraction of the rows held out to find the best epoch, 0 for none.
        random_state: a seed, or a NumPy `RandomState`, of the split, the start and the order.

    Attributes:
        flow_: the fitted `Flow`, in double precision, or the fitted `TableFlow` of a table.
        history_: the losses by epoch, a `pyro_flows.training.History`.
        n_features_in_: how many columns the rows have.
        feature_names_in_: their names, of a data frame.

    Example:
        Tumours that look unlike the benign ones:

        >>> import numpy as np
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.metrics import roc_auc_score
        >>> from pyro_flows.sklearn import FlowDensity
        >>> x, y = load_breast_cancer(return_X_y=True)
        >>> benign = np.flatnonzero(y == 1)
        >>> model = FlowDensity(epochs=30, random_state=0).fit(x[benign[:250]])
        >>> test = np.setdiff1d(np.arange(len(x)), benign[:250])
        >>> bool(roc_auc_score(y[test] == 0, -model.score_samples(x[test])) > 0.9)
        True
    """

    flow_: Any
    history_: History

    def __init__(
        self,
        family: tables.Family | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        epochs: int | None = None,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        validation: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.family, self.kinds = family, kinds
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.validation, self.random_state = validation, random_state

    def fit(self, X: Rows, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Fit the flow to rows; `y` is ignored.

        Args:
            X: rows of shape (rows, columns).
            y: ignored.
            sample_weight: a number ≥ 0 for each row.

        Raises:
            TypeError, ValueError: if there are fewer than two rows, or cells that cannot be modelled.
        """
        self._is_table = _is_table(X, self.kinds)
        if self._is_table:
            validate_data(self, X, skip_check_array=True)
        else:
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        weights = None
        if sample_weight is not None:
            weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64)
            if weights.shape != (len(X),) or (weights < 0).any():
                found = f"shape {weights.shape}, of which {int((weights < 0).sum())} are negative"
                raise ValueError(f"expected a weight ≥ 0 for each of {len(X)} rows; got {found}")
            X, weights = X[weights > 0], weights[weights > 0]
            if len(X) < 2:
                raise ValueError(f"expected two rows at least whose weight is not zero; got {len(X)}")
        family = self.family or tables.column_by_column
        held_out = self.validation if round(self.validation * len(X)) else 0
        settings: dict[str, Any] = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "validation": held_out,
            "seed": self._seed(self.random_state),
            "progress": False,
        }
        with torch.random.fork_rng([]):
            torch.manual_seed(settings["seed"])
            if self._is_table:
                self.flow_ = tables.fit(X, family=family, kinds=self.kinds, weights=weights, **settings)
                self.history_ = self.flow_.history
            else:
                self.flow_ = Flow(family(X.shape[1]))
                self.history_ = fit(self.flow_, X, weights=weights, **settings)
                self.flow_.double()  # so that a score does not depend on which rows come with it
        return self

    def score_samples(self, X: Rows) -> np.ndarray[Any, Any]:
        """Return log p of each row in nats, of shape (rows,).

        A row of a table with a cell that cannot occur, such as a category never seen, has −∞.

        Raises:
            TypeError, ValueError: if rows have other columns, or a table's are no data frame.
        """
        X = self._checked(X)
        if self._is_table:
            return self.flow_.log_prob(X).numpy()
        with torch.no_grad():
            flow = self.flow_()
            return torch.cat([flow.log_prob(rows) for rows in as_tensor(X, "X").split(ROWS)]).numpy()

    def score(self, X: Rows, y: Any = None) -> float:
        """Return the mean log p of the rows in nats; `y` is ignored."""
        return float(self.score_samples(X).mean())

    def sample(
        self, n_samples: int = 1, *, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray[Any, Any] | pd.DataFrame:
        """Return new rows: an array, or a data frame with the columns and types of the table.

        Args:
            n_samples: how many.
            random_state: a seed, or a NumPy `RandomState`; NumPy's global one if None.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=0)
        with torch.no_grad(), torch.random.fork_rng([]):
            torch.manual_seed(self._seed(random_state))
            if self._is_table:
                return self.flow_.sample(n_samples)
            return self.flow_().sample((n_samples,)).numpy()

    def _checked(self, X: Rows) -> Rows:
        check_is_fitted(self)
        if self._is_table:
            check_frame(X)
            return validate_data(self, X, reset=False, skip_check_array=True)
        return validate_data(self, X, dtype=np.float64, reset=False)

    @staticmethod
    def _seed(random_state: Any) -> int:
        return int(check_random_state(random_state).randint(2**31))


def _is_table(rows: Rows, kinds: Mapping[str, str] | None) -> bool:
    """Whether rows are a data frame that is more than an array of numbers."""
    if not (hasattr(rows, "dtypes") and hasattr(rows, "columns")):
        if kinds is not None:
            raise TypeError(f"expected a data frame, as kinds are given; got {type(rows).__name__}")
        return False
    if kinds is not None:
        return True
    kind = [getattr(dtype, "kind", "O") for dtype in rows.dtypes]
    return any(k not in "iuf" for k in kind) or bool(rows.isna().to_numpy().any())
