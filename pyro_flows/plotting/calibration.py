"""Ranks of simulation-based calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..diagnostics.calibration import Calibration
from ..diagnostics.uniformity import ecdf_band
from ._figures import DATA, MODEL, new_figure, numpy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration"]


def calibration(result: Calibration, *, names: Sequence[str] | None = None, level: float = 0.95) -> Figure:
    r"""Draw, for each quantity, how the share of ranks below a point differs from what is uniform.

    The shaded band holds the whole curve of a calibrated posterior with probability `level`. A curve above it
    on the left and below on the right means posteriors that are too narrow, the opposite too wide; one that
    stays below zero, posteriors that are too low.

    Säilynoja, Bürkner & Vehtari, "Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison", 2022, arXiv:2103.10522.

    Args:
        result: from `pyro_flows.diagnostics.calibrate`.
        names: which quantities to draw; None for all.
        level: of the band.

    Raises:
        ImportError: without matplotlib.
        ValueError: if a name is unknown.

    Example:
        >>> import torch, pyro_flows as pf
        >>> found = pf.diagnostics.Calibration({"x": torch.randint(0, 100, (200,))}, num_samples=99)
        >>> len(pf.plotting.calibration(found).axes)
        1
    """
    names = list(result.ranks) if names is None else list(names)
    if not names or not set(names) <= set(result.ranks):
        raise ValueError(f"expected quantities of {sorted(result.ranks)}; got {names}")
    columns = min(len(names), 4)
    rows = math.ceil(len(names) / columns)
    figure = new_figure(2.9 * columns + 0.4, 2.5 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    words = result.verdicts()
    for ax in grid.flat[len(names) :]:
        ax.remove()
    for i, (ax, name) in enumerate(zip(grid.flat, names, strict=False)):
        ranks = result.ranks[name].cpu()
        z, low, high = ecdf_band(len(ranks), result.num_samples, level)
        points = (z * (result.num_samples + 1)).round()
        share = (ranks < points[:, None]).double().mean(-1)
        ends = z.new_zeros(1), z.new_ones(1)
        x = numpy(torch.cat([ends[0], z, ends[1]]))
        low, high, curve = (torch.nn.functional.pad(part, (1, 1)) for part in (low, high, share - z))
        ax.fill_between(x, numpy(low), numpy(high), color=DATA, alpha=0.2, lw=0, step="mid")
        ax.axhline(0, color="grey", lw=0.8)
        ax.plot(
            x,
            numpy(curve),
            color=MODEL if words[name] != "calibrated" else DATA,
            lw=1.4,
            drawstyle="steps-mid",
        )
        ax.set_title(f"{name}: {words[name]}", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(0, 1)
        if i % columns == 0:
            ax.set_ylabel("share below − rank ÷ draws", fontsize=8)
        if i + columns >= len(names):
            ax.set_xlabel("rank ÷ draws", fontsize=8)
            ax.tick_params(labelbottom=True)
    return figure
