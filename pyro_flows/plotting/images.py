"""Images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._figures import new_axes, numpy, root

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["image_grid"]

_GAP = (0.75, 0.75, 0.75)
_UNDEFINED = (1.0, 0.0, 1.0)  # seen in any picture


def image_grid(
    images: Tensor,
    ax: Axes | None = None,
    *,
    columns: int | None = None,
    levels: int = 256,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Figure:
    r"""Draw images in rows and columns, with a gap of one pixel, 0 as black and L − 1 as white.

    Args:
        images: pixel values in [0, L) of shape (n, C, H, W), or (rows, columns, C, H, W); C is 1 or 3.
        ax: where to draw; a new figure if None.
        columns: number of images in a row, for images of shape (n, C, H, W); about √n if None.
        levels: L, how many values a pixel can have.
        row_labels: names at the left of the rows, or none.
        column_labels: names above the columns, or none.

    Returns:
        The figure, with one picture on its axes. Undefined pixels (NaN) are magenta.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes or numbers of labels do not fit.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> figure = pf.plotting.image_grid(torch.randint(0, 256, (12, 1, 8, 8)), columns=4)
        >>> figure.axes[0].images[0].get_array().shape
        (28, 37, 3)
    """
    rows = _in_rows(images, columns)
    height, width = rows.shape[-2] + 1, rows.shape[-1] + 1
    canvas = _tiled(rows, levels)
    if ax is None:
        inches = min(1.0, 9.0 / rows.shape[1], 9.0 / rows.shape[0] * width / height)  # an image's width
        ax = new_axes(
            inches * rows.shape[1] + 0.9 * bool(row_labels) + 0.1,
            inches * rows.shape[0] * height / width + 0.3 * bool(column_labels) + 0.1,
        )
    ax.imshow(numpy(canvas), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for labels, count, size, axis in (
        (row_labels, rows.shape[0], height, ax.yaxis),
        (column_labels, rows.shape[1], width, ax.xaxis),
    ):
        if len(labels) not in (0, count):
            raise ValueError(f"expected {count} labels or none; got {len(labels)}")
        axis.set_ticks([(i + 0.5) * size for i in range(len(labels))], labels)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return root(ax)


def _in_rows(images: Tensor, columns: int | None) -> Tensor:
    """Return images of shape (rows, columns, C, H, W), with blanks if the last row is short."""
    if images.dim() not in (4, 5) or images.shape[-3] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            "expected images of shape (n, C, H, W) or (rows, columns, C, H, W) with C of 1 or 3; "
            f"got {tuple(images.shape)}"
        )
    images = images.detach().cpu().double()
    if images.dim() == 5:
        return images
    columns = min(len(images), columns or round((len(images) * images.shape[-2] / images.shape[-1]) ** 0.5))
    missing = -len(images) % columns
    blank = images.new_full((missing, *images.shape[1:]), torch.inf)
    return torch.cat([images, blank]).unflatten(0, (-1, columns))


def _tiled(rows: Tensor, levels: int) -> Tensor:
    """Return one picture of shape (height, width, 3)."""
    vertical, horizontal, _, height, width = rows.shape
    colours = (rows / (levels - 1)).expand(-1, -1, 3, -1, -1).movedim(2, -1)
    gap, undefined = colours.new_tensor(_GAP), colours.new_tensor(_UNDEFINED)
    colours = torch.where(colours.isnan().any(-1, keepdim=True), undefined, colours)
    colours = torch.where(colours.isposinf(), gap, colours.clamp(0, 1))
    canvas = gap.repeat(vertical * (height + 1) + 1, horizontal * (width + 1) + 1, 1)
    for i in range(vertical):
        for j in range(horizontal):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            canvas[top : top + height, left : left + width] = colours[i, j]
    return canvas
