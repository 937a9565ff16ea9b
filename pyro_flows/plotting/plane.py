"""Densities and samples of the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ._figures import DATA, MODEL, finite, new_axes, new_figure, numpy, root, scatter, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare_2d", "density", "samples"]

Bounds = tuple[float, float, float, float]

_COLOURS = "magma"
_CHUNK = 4096  # rows scored at a time


def density(
    distribution: Distribution,
    ax: Axes | None = None,
    *,
    bounds: Bounds | None = None,
    points: int = 200,
    vmax: float | None = None,
) -> Figure:
    r"""Draw the heat map of p(y) over a box of the plane.

    Args:
        distribution: of event shape (2,) and batch shape (); put a flow into eval mode first.
        ax: where to draw; a new figure if None.
        bounds: left, right, bottom and top of the box; a square around 2,000 samples if None.
        points: number of cells along either side; the density is evaluated at their centres.
        vmax: the density at the brightest colour; the highest one drawn if None.

    Returns:
        The figure drawn on. Undefined densities (NaN) are left blank.

    Raises:
        ImportError: without matplotlib.
        ValueError: if the distribution is not one over the plane, or the box is empty.

    Example:
        >>> import pyro_flows as pf, pyro_flows.plotting
        >>> figure = pf.plotting.density(pf.datasets.TwoMoons(), points=20)
        >>> [ax.get_xlabel() for ax in figure.axes]
        ['$y_1$', 'density (per unit area)']
    """
    bounds = _square_around(_draw(distribution, 2000)) if bounds is None else bounds
    values = _on_grid(distribution, bounds, points)
    own = ax is None
    ax = new_axes(4.4, 4.4) if ax is None else ax
    image = ax.imshow(values, origin="lower", extent=bounds, cmap=_COLOURS, vmin=0, vmax=vmax)
    _plane(ax, bounds)
    if own:
        root(ax).colorbar(image, ax=ax, orientation="horizontal", label="density (per unit area)")
    return root(ax)


def samples(x: Tensor, ax: Axes | None = None, *, bounds: Bounds | None = None, colour: str = DATA) -> Figure:
    r"""Draw points of the plane.

    Args:
        x: the points, of shape (n, 2).
        ax: where to draw; a new figure if None.
        bounds: left, right, bottom and top of the box; a square around the points if None.
        colour: the points' colour, in any form matplotlib knows.

    Returns:
        The figure drawn on. Points that are not finite are left out.

    Raises:
        ImportError: without matplotlib.
        ValueError: if `x` has another shape.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> len(pf.plotting.samples(torch.randn(100, 2)).axes)
        1
    """
    if x.dim() != 2 or x.shape[1] != 2:
        raise ValueError(f"expected points of shape (n, 2); got {tuple(x.shape)}")
    ax = new_axes(4.0, 4.0) if ax is None else ax
    x = finite(x)
    scatter(ax, x, colour)
    _plane(ax, _square_around(x) if bounds is None else bounds)
    return root(ax)


def compare_2d(
    truth: Distribution,
    flow_distribution: Distribution,
    *,
    n: int = 2000,
    bounds: Bounds | None = None,
    points: int = 200,
) -> Figure:
    r"""Draw the true density, the learned one in the same colours, and samples of the learned one.

    Args:
        truth: a distribution of event shape (2,).
        flow_distribution: the learned distribution, of event shape (2,).
        n: number of samples to draw.
        bounds: left, right, bottom and top of the box; a square around samples of `truth` if None.
        points: number of cells along either side.

    Returns:
        A figure of three panels. The brightest colour is the highest true density.

    Raises:
        ImportError: without matplotlib.
        ValueError: if either is not a distribution over the plane.

    Example:
        >>> import pyro_flows as pf, pyro_flows.plotting
        >>> flow = pf.Flow(pf.real_nvp(2)).eval()
        >>> figure = pf.plotting.compare_2d(pf.datasets.TwoMoons(), flow(), n=100, points=20)
        >>> [ax.get_title() for ax in figure.axes]
        ['truth', 'learned density', '100 samples of the flow', '']
    """
    bounds = _square_around(_draw(truth, 2000)) if bounds is None else bounds
    figure = new_figure(10.4, 3.5)
    left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
    density(truth, left, bounds=bounds, points=points)
    image = left.images[0]
    density(flow_distribution, middle, bounds=bounds, points=points, vmax=image.get_clim()[1])
    samples(_draw(flow_distribution, n), right, bounds=bounds, colour=MODEL)
    for ax, title in zip(
        (left, middle, right), ("truth", "learned density", f"{n:,} samples of the flow"), strict=True
    ):
        ax.set_title(title)
        ax.label_outer()
    figure.colorbar(image, ax=[left, middle], label="density (per unit area)", extend="max")
    return figure


def _draw(distribution: Distribution, n: int) -> Tensor:
    if distribution.event_shape != (2,) or distribution.batch_shape != ():
        event, batch = tuple(distribution.event_shape), tuple(distribution.batch_shape)
        raise ValueError(
            f"expected a distribution of event shape (2,) and batch shape (); got {event} and {batch}"
        )
    with torch.no_grad():
        return distribution.sample((n,))


def _on_grid(distribution: Distribution, bounds: Bounds, points: int) -> Any:
    """Return the densities at the centres of cells, as an array of rows from the bottom."""
    left, right, bottom, top = bounds
    if not (left < right and bottom < top and points > 0):
        raise ValueError(f"expected left < right, bottom < top and points > 0; got {bounds}, {points}")
    like = _draw(distribution, 1)  # for its dtype and device
    middles = (torch.arange(points, dtype=like.dtype, device=like.device) + 0.5) / points
    y, x = torch.meshgrid(bottom + (top - bottom) * middles, left + (right - left) * middles, indexing="ij")
    grid = torch.stack([x, y], -1).reshape(-1, 2)
    values = grid.new_zeros(len(grid))
    inside = distribution.support.check(grid)  # type: ignore[union-attr]  # outside, torch raises
    with torch.no_grad():
        chunks = grid[inside].split(_CHUNK)
        values[inside] = torch.cat([distribution.log_prob(chunk).exp() for chunk in chunks])
    return numpy(values.reshape(points, points))


def _square_around(x: Tensor) -> Bounds:
    spans = [span(column) for column in finite(x).T]
    half = max(high - low for low, high in spans) / 2
    (left, right), (bottom, top) = (((low + high) / 2 - half, (low + high) / 2 + half) for low, high in spans)
    return left, right, bottom, top


def _plane(ax: Axes, bounds: Bounds) -> None:
    left, right, bottom, top = bounds
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
