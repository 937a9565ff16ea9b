"""Samples over data, two dimensions at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._figures import DATA, MODEL, finite, new_figure, numpy, scatter, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pairs"]


def pairs(
    data: Tensor,
    samples: Tensor,
    *,
    names: Sequence[str] | None = None,
    max_dims: int = 6,
    max_points: int = 1500,
) -> Figure:
    r"""Draw samples over data: a histogram for each dimension, a scatter plot for each pair.

    Axes span the central 99.8 % of the data, with a margin; histograms count all rows within them.

    Args:
        data: rows of shape (n, d).
        samples: rows of shape (m, d).
        names: the names of all d dimensions; x1, x2, … if None.
        max_dims: the largest number of dimensions that are drawn, from the first on.
        max_points: the largest number of points of each that are drawn in a scatter plot, from the first on.

    Returns:
        A figure of min(d, max_dims) rows and columns; rows with a value that isn't finite are left out.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes or the number of names do not fit.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> figure = pf.plotting.pairs(torch.randn(200, 3), torch.randn(100, 3))
        >>> len(figure.axes)
        6
    """
    if data.dim() != 2 or samples.dim() != 2 or data.shape[1] != samples.shape[1]:
        shapes = f"{tuple(data.shape)} and {tuple(samples.shape)}"
        raise ValueError(f"expected data and samples of shapes (n, d) and (m, d); got {shapes}")
    dims = data.shape[1]
    names = [f"x{i + 1}" for i in range(dims)] if names is None else list(names)
    if len(names) != dims:
        raise ValueError(f"expected {dims} names; got {len(names)}")
    dims = min(dims, max_dims)
    data, samples = finite(data[:, :dims]), finite(samples[:, :dims])
    limits = [span(column) for column in data.T]
    points, colours = _interleaved(data[:max_points], samples[:max_points])
    side = 1.4 * dims + 1.0
    figure = new_figure(side, side)
    grid = figure.add_gridspec(dims, dims)
    for row in range(dims):
        for column in range(row + 1):
            ax = figure.add_subplot(grid[row, column])
            ax.set_xlim(*limits[column])
            if row == column:
                _histograms(ax, data[:, row], samples[:, row], limits[row])
            else:
                scatter(ax, points[:, [column, row]], colours, 0.5)
                ax.set_ylim(*limits[row])
            ax.locator_params(nbins=3)
            _outer_labels(ax, names, row, column, dims)
    if dims:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", frameon=False)
    return figure


def _interleaved(data: Tensor, samples: Tensor) -> tuple[Tensor, list[str]]:
    """Return the points of both, with colours, in an order that hides neither behind the other."""
    places = [(i / len(rows), k) for k, rows in enumerate((data, samples)) for i in range(len(rows))]
    order = sorted(range(len(places)), key=places.__getitem__)
    points = torch.cat([data.cpu().double(), samples.cpu().double()])
    return points[order], [(DATA, MODEL)[places[i][1]] for i in order]


def _histograms(ax: Axes, data: Tensor, samples: Tensor, limits: tuple[float, float]) -> None:
    common: dict[str, Any] = {"bins": 40, "range": limits, "density": True}
    ax.hist(numpy(data), **common, color=DATA, alpha=0.45, label="data")
    ax.hist(numpy(samples), **common, histtype="step", color=MODEL, lw=1.3, label="samples")
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)


def _outer_labels(ax: Axes, names: Sequence[str], row: int, column: int, dims: int) -> None:
    if row == dims - 1:
        ax.set_xlabel(names[column])
    else:
        ax.tick_params(labelbottom=False)
    if column == 0 and row > 0:
        ax.set_ylabel(names[row])
    elif row != column:
        ax.tick_params(labelleft=False)
