"""Pictures hold what they should, without pyplot or a display, and read with units."""

import sys
from types import SimpleNamespace

import matplotlib.figure
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows import plotting

MOONS = pf.datasets.TwoMoons(0.1)
HISTORY = SimpleNamespace(train_loss=[3.0, 2.0, 1.5], val_loss=[3.1, 2.2, 2.3])


def rendered(figure):
    """The figure's pixels."""
    figure.canvas.draw()
    return torch.frombuffer(bytearray(figure.canvas.buffer_rgba()), dtype=torch.uint8)


FIGURES = {
    "density": lambda: plotting.density(MOONS, points=20),
    "density of a flow": lambda: plotting.density(pf.Flow(pf.real_nvp(2))(), points=20),
    "samples": lambda: plotting.samples(torch.randn(50, 2)),
    "samples, none": lambda: plotting.samples(torch.zeros(0, 2)),
    "samples, one": lambda: plotting.samples(torch.zeros(1, 2)),
    "samples, not all finite": lambda: plotting.samples(torch.tensor([[0.0, 1.0], [1.0, torch.nan]])),
    "compare_2d": lambda: plotting.compare_2d(MOONS, pf.Flow(pf.real_nvp(2))(), n=50, points=20),
    "pairs": lambda: plotting.pairs(torch.randn(50, 3), torch.randn(30, 3)),
    "pairs, one dimension": lambda: plotting.pairs(torch.randn(50, 1), torch.randn(30, 1)),
    "loss_curve": lambda: plotting.loss_curve(HISTORY),
    "loss_curve without validation": lambda: plotting.loss_curve(
        SimpleNamespace(train_loss=[1.0], val_loss=[])
    ),
    "loss_curve, empty": lambda: plotting.loss_curve(SimpleNamespace(train_loss=[], val_loss=[])),
    "loss_curve, not finite": lambda: plotting.loss_curve(
        SimpleNamespace(train_loss=[1.0, 2.0], val_loss=[torch.inf, torch.nan])
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_renders_and_saves(name, tmp_path):
    figure = FIGURES[name]()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert rendered(figure).unique().numel() > 1
    for suffix in ("png", "svg"):
        figure.savefig(tmp_path / f"figure.{suffix}")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.density(MOONS, ax, points=20),
        lambda ax: plotting.samples(torch.randn(50, 2), ax),
        lambda ax: plotting.loss_curve(HISTORY, ax),
    ],
)
def test_draws_on_given_axes_only(draw):
    figure = matplotlib.figure.Figure()
    first, second = figure.subfigures(1, 2)[0].subplots(1, 2)
    assert draw(first) is figure
    assert len(figure.axes) == 2
    assert first.has_data()
    assert not second.has_data()


def test_density_shows_the_density_the_right_way_up():
    box = (-2.0, 6.0, -1.0, 1.0)
    normal = dist.Normal(torch.tensor([5.0, 0.0]), torch.tensor([0.5, 0.25])).to_event(1)
    figure = plotting.density(normal, bounds=box, points=80)
    image = figure.axes[0].images[0]
    values = torch.from_numpy(image.get_array().data)
    assert list(image.get_extent()) == list(box)
    assert values.shape == (80, 80)
    assert values.sum() * 16 / 80**2 == pytest.approx(1, abs=0.03)
    assert values.sum(0).argmax() in (69, 70)  # x = 5: columns run to the right
    figure = plotting.density(dist.Normal(torch.tensor([0.0, 0.5]), 0.25).to_event(1), bounds=box, points=80)
    image = figure.axes[0].images[0]
    assert image.origin == "lower"
    assert torch.from_numpy(image.get_array().data).sum(1).argmax() in (59, 60)


def test_density_leaves_out_what_is_not_in_the_support():
    square = dist.Uniform(torch.zeros(2), torch.ones(2), validate_args=True).to_event(1)
    values = plotting.density(square, bounds=(-1.0, 1.0, -1.0, 1.0), points=10).axes[0].images[0].get_array()
    assert values.sum() == 25


def test_density_keeps_no_graph_and_the_dtype():
    flow = pf.Flow(pf.real_nvp(2)).double()
    plotting.density(flow(), points=10)
    assert all(p.grad is None for p in flow.parameters())


def test_comparison_shares_colours_and_axes():
    narrow = dist.Normal(torch.zeros(2), 0.01).to_event(1)
    figure = plotting.compare_2d(MOONS, narrow, n=1234, points=20)
    truth, learned, samples, bar = figure.axes
    assert truth.images[0].get_clim() == learned.images[0].get_clim()
    assert truth.get_xlim() == learned.get_xlim() == samples.get_xlim()
    assert truth.get_ylim() == samples.get_ylim()
    assert [ax.get_aspect() for ax in (truth, learned, samples)] == [1.0] * 3
    assert samples.get_title() == "1,234 samples of the flow"
    assert len(samples.collections[0].get_offsets()) == 1234
    assert bar.get_ylabel() == "density (per unit area)"


def test_pairs_names_and_counts():
    names = [f"theta {i}" for i in range(8)]
    figure = plotting.pairs(torch.randn(50, 8), torch.randn(30, 8), names=names, max_dims=4, max_points=20)
    assert len(figure.axes) == 4 + 6
    assert {ax.get_xlabel() for ax in figure.axes} == {"", *names[:4]}
    assert {ax.get_ylabel() for ax in figure.axes} == {"", *names[1:4]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["data", "samples"]
    scatters = [ax.collections[0] for ax in figure.axes if ax.collections]
    assert len(scatters) == 6
    assert len(scatters[0].get_offsets()) == 40


def test_pairs_scatters_the_column_across_and_the_row_up():
    data = torch.tensor([[0.0, 10.0], [1.0, 11.0]])
    ax = plotting.pairs(data, data + 0.5).axes[1]
    assert sorted(ax.collections[0].get_offsets().tolist()) == [[0, 10], [0.5, 10.5], [1, 11], [1.5, 11.5]]


def test_loss_curve_counts_epochs_from_one_and_marks_the_best():
    ax = plotting.loss_curve(HISTORY).axes[0]
    train, val, best = ax.lines
    assert train.get_xdata().tolist() == [1, 2, 3]
    assert list(train.get_ydata()) == HISTORY.train_loss
    assert list(val.get_ydata()) == HISTORY.val_loss
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 2.2)
    assert best.get_label() == "best: 2.200 nats, epoch 2"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "negative log-likelihood (nats)")


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pyro-flows\[plot\]"):
        plotting.loss_curve(HISTORY)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.density(dist.Normal(0.0, 1.0)), r"expected a distribution of event shape \(2,\)"),
        (lambda: plotting.density(MOONS.expand((3,))), r"got \(2,\) and \(3,\)"),
        (lambda: plotting.density(MOONS, bounds=(1.0, 0.0, 0.0, 1.0)), "expected left < right"),
        (lambda: plotting.density(MOONS, points=0), "points > 0"),
        (lambda: plotting.samples(torch.zeros(5, 3)), r"expected points of shape \(n, 2\); got \(5, 3\)"),
        (lambda: plotting.pairs(torch.zeros(5, 3), torch.zeros(5, 2)), r"got \(5, 3\) and \(5, 2\)"),
        (
            lambda: plotting.pairs(torch.zeros(5, 3), torch.zeros(5, 3), names=["a"]),
            "expected 3 names; got 1",
        ),
    ],
)
def test_bad_arguments_raise(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_first_epochs_do_not_flatten_the_rest():
    losses = [1e4, *(3.0 - 0.01 * i for i in range(29))]
    figure = plotting.loss_curve(SimpleNamespace(train_loss=losses, val_loss=losses))
    low, high = figure.axes[0].get_ylim()
    assert low < min(losses)
    assert high < 4


def test_compared_tables_show_every_column_and_gap():
    data = pd.DataFrame(
        {
            "x": [0.5 * i for i in range(40)],
            "c": pd.Categorical(["a", "b", None, "b"] * 10),
            "yes": [True, False] * 20,
            "day": pd.date_range("2024-01-01", periods=40),
            "n": pd.array([1, 2, None, 4] * 10, dtype="Int64"),
        }
    )
    figure = plotting.compare_tables(data, data.sample(frac=1, random_state=0, ignore_index=True))
    assert len(figure.axes) == 5 + 3
    assert [ax.get_title() for ax in figure.axes[:5]] == list(data)
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["a", "b", "missing"]
    assert figure.axes[5].images[0].get_array().shape == (5, 5)
    assert rendered(figure).numel() > 0
    with pytest.raises(ValueError, match="expected equal columns"):
        plotting.compare_tables(data, data[["x"]])
    assert len(plotting.compare_tables(data[["c"]], data[["c"]]).axes) == 4
