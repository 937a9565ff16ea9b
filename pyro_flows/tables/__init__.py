r"""Flows of tables as they come: numbers, whole numbers, categories, dates, missing cells.

Column j has a cumulative distribution F_j of its own, with a step at each value that has a probability.
A cell y becomes a normal score

    z = Φ⁻¹(F_j(y⁻) + w (F_j(y) − F_j(y⁻))),   w uniform on (0, 1),

a point if y has a density f_j, an interval if it has a probability f_j; a missing cell is one such value.
A flow models the scores of all columns together, so that

    log p(row) ≥ E_w[log p_flow(z) − Σ_j log φ(z_j)] + Σ_j log f_j(y_j):

the log-probability of what is discrete times the density of what is not, in the table's own units.

    table = pf.tables.fit(frame)
    table.log_prob(frame), table.sample(1000)
"""

from .cells import Cells
from .fit import column_by_column, fit
from .kinds import KINDS, Kind
from .schema import Schema
from .table_flow import Family, TableFlow

__all__ = ["KINDS", "Cells", "Family", "Kind", "Schema", "TableFlow", "column_by_column", "fit"]
