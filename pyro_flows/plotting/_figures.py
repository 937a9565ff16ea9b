"""What all pictures share: figures without pyplot, colours, and the range that points span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA, MODEL = "#31688e", "#e8743b"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that needs neither pyplot nor a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'pyro-flows[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> Axes:
    """Return the only axes of a new figure."""
    return new_figure(width, height).subplots()


def root(ax: Axes) -> Figure:
    """Return the figure that axes belong to."""
    return ax.figure.figure  # through subfigures


def span(x: Tensor) -> tuple[float, float]:
    """Return the least and greatest value but for 1 in 1,000, with a margin."""
    if len(x) == 0:
        return 0.0, 1.0
    ordered = x.cpu().double().sort().values
    skip = len(x) // 1000
    low, high = float(ordered[skip]), float(ordered[-1 - skip])
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def finite(x: Tensor) -> Tensor:
    """Return the rows whose values are all finite."""
    x = x.detach()
    return x[x.isfinite().all(-1)]


def numpy(x: Tensor) -> Any:
    """Return an array of doubles."""
    return x.detach().cpu().double().numpy()


def scatter(ax: Axes, x: Tensor, colour: Any, alpha: float = 0.6) -> None:
    """Draw points of shape (n, 2); `colour` is one for all, or a sequence of n."""
    first, second = numpy(x).T
    size = 2.0 + 600 / (len(x) + 100)  # few points are drawn larger
    ax.scatter(first, second, s=size, c=colour, alpha=alpha, linewidths=0, rasterized=True)
