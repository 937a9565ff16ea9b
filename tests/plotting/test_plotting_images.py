"""Pictures of images hold the very pixels they should."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows import plotting
from pyro_flows import transforms as tr

from .test_plotting import rendered

MAGENTA = [1.0, 0.0, 1.0]


def flat(height=8, width=8, **base):
    """Latents are the pixels themselves."""
    return pf.Flow(tr.Reshape((height * width,), (1, height, width)), **base)


def tiles(figure, height, width):
    """The images of a figure, of shape (rows, columns, 3, H, W), checked to lie in a grey grid."""
    (image,) = figure.axes[0].images
    canvas = torch.from_numpy(image.get_array().data)
    assert image.get_interpolation() == "nearest"
    rows, columns = (len(canvas) - 1) // (height + 1), (canvas.shape[1] - 1) // (width + 1)
    grid = torch.ones(canvas.shape[:2], dtype=torch.bool)
    cut = canvas[1:, 1:].unfold(0, height + 1, height + 1).unfold(1, width + 1, width + 1)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            grid[top : top + height, left : left + width] = False
    assert (canvas[grid] == 0.75).all()
    return cut[..., :height, :width]


def test_a_grid_holds_its_images_in_order():
    images = torch.randint(0, 17, (5, 1, 2, 3))
    found = tiles(plotting.image_grid(images, columns=2, levels=17), 2, 3)
    assert found.shape == (3, 2, 3, 2, 3)
    wanted = (images / 16.0).double().expand(-1, 3, -1, -1)
    torch.testing.assert_close(found.flatten(0, 1)[:5], wanted, atol=1e-7, rtol=0)
    assert (found[2, 1] == 0.75).all()  # the last row is short


def test_colours_are_kept_and_values_beyond_them_clipped():
    images = torch.tensor([-3.0, 0.0, 51.0, 255.0, 255.9, 300.0]).reshape(2, 3, 1, 1)
    found = tiles(plotting.image_grid(images, columns=2), 1, 1)
    assert found[0, :, :, 0, 0].tolist() == [[0, 0, 0.2], [1, 1, 1]]


def test_undefined_pixels_are_seen():
    images = torch.zeros(1, 1, 1, 2)
    images[..., 1] = torch.nan
    found = tiles(plotting.image_grid(images), 1, 2)[0, 0, :, 0]
    assert found.T.tolist() == [[0, 0, 0], MAGENTA]


def test_rows_and_labels():
    figure = plotting.image_grid(
        torch.zeros(2, 3, 1, 4, 4), row_labels=["one", "two"], column_labels=["a", "b", "c"]
    )
    assert tiles(figure, 4, 4).shape == (2, 3, 3, 4, 4)
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert list(ax.get_yticks()) == [2.5, 7.5]  # at the images' middles
    assert rendered(figure).unique().numel() > 1


def test_any_number_of_images_makes_a_grid():
    for n in (1, 2, 3, 7, 16, 50):
        figure = plotting.image_grid(torch.zeros(n, 3, 4, 8))
        rows, columns = tiles(figure, 4, 8).shape[:2]
        assert rows * columns >= n > (rows - 1) * columns
        assert rendered(figure).unique().numel() > 1


def test_given_axes_are_drawn_on():
    from matplotlib.figure import Figure

    figure = Figure()
    first, second = figure.subplots(1, 2)
    assert plotting.image_grid(torch.zeros(4, 1, 2, 2), second) is figure
    assert second.images
    assert not first.images


def test_reconstructions_show_images_and_what_comes_back():
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    flow = pf.Flow([tr.Reshape((64,), (1, 8, 8)), tr.LogitPixels(), tr.Dequantize()])
    figure = plotting.reconstructions(flow, images)
    above, below = tiles(figure, 8, 8)
    torch.testing.assert_close(above[:, 0], images[:, 0] / 255.0, check_dtype=False, atol=1e-6, rtol=0)
    torch.testing.assert_close(above, below, atol=1.1 / 255, rtol=0)
    assert figure.axes[0].get_title() in [f"largest difference: {d} of 256 levels" for d in (0, 1)]

    class Lossy(tr.Reshape):
        def forward_and_log_det(self, x, context=None):
            y, log_det = super().forward_and_log_det(x)
            return y + 7, log_det

    figure = plotting.reconstructions(pf.Flow(Lossy((64,), (1, 8, 8))), images)
    assert figure.axes[0].get_title() == "largest difference: 7 of 256 levels"


def test_interpolations_go_along_an_arc():
    close = {"atol": 1e-3, "rtol": 0}  # it is drawn in single precision
    first, second = torch.rand(2, 3, 1, 8, 8, dtype=torch.float64) * 255
    found = tiles(plotting.interpolations(flat(), first, second, steps=5), 8, 8)[:, :, 0] * 255
    torch.testing.assert_close(found[:, 0], first[:, 0], **close)
    torch.testing.assert_close(found[:, -1], second[:, 0], **close)
    a, b, middle = (x.flatten(1) for x in (first, second, found[:, 2]))
    wanted = (a + b) / (2 + 2 * torch.cosine_similarity(a, b)).sqrt().unsqueeze(1)
    torch.testing.assert_close(middle, wanted.clamp(0, 255), **close)
    angles = [
        torch.cosine_similarity(found[:, i].flatten(1), found[:, i + 1].flatten(1)).acos() for i in (0, 1)
    ]
    torch.testing.assert_close(angles[0], angles[1], atol=0.02, rtol=0)  # in equal steps, but for clipping
    same = tiles(plotting.interpolations(flat(), first, first, steps=3), 8, 8)[:, 1, 0] * 255
    torch.testing.assert_close(same, first[:, 0], **close)


def test_scales_are_drawn_anew_from_the_finest():
    scales = [tr.Squeeze((1, 8, 8)), tr.Squeeze((2, 4, 4))]
    flow = pf.Flow([tr.Multiscale(scales), torch.distributions.AffineTransform(100.0, 20.0)])
    images = torch.randint(0, 256, (3, 1, 8, 8)).float()
    figure = plotting.resampled_scales(flow, images, temperature=2.0)
    shown, fine, everything = (tiles(figure, 8, 8)[:, :, 0] * 255).unbind(1)
    wanted = images[:, 0].double()
    torch.testing.assert_close(shown, wanted)
    torch.testing.assert_close(fine[:, ::2], wanted[:, ::2])  # the squeeze leaves lower rows to the noise
    new = torch.cat([fine[:, 1::2].flatten(), everything.flatten()])
    assert not torch.isclose(fine[:, 1::2], wanted[:, 1::2]).all()
    assert not torch.isclose(everything[:, ::2], wanted[:, ::2]).all()
    assert 30 < new.std() < 45  # temperature 2 and scale 20
    assert len({tuple(row.tolist()) for row in everything[:, 0]}) == 3


def test_attributes_are_added_in_latent_space():
    images, having, lacking = torch.rand(3, 4, 1, 8, 8) * 100 + 50
    figure = plotting.attribute_arithmetic(flat(), images, having, lacking, strengths=(0, 1, -2))
    found = tiles(figure, 8, 8)[:, :, 0] * 255
    direction = (having.mean(0) - lacking.mean(0))[0]
    for i, s in enumerate((0, 1, -2)):
        wanted = (images[:, 0] + s * direction).clamp(0, 255)
        torch.testing.assert_close(found[:, i], wanted.double(), atol=1e-4, rtol=0)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0", "+1", "-2"]


def test_conditional_flows_are_drawn_too():
    net = pf.nn.MLP(32, 64, (4,), context_dim=2)
    coupling = tr.Coupling(pf.partitions.Halves(64), pf.elementwise.Affine(), net)
    flow = pf.Flow([coupling, tr.Reshape((64,), (1, 8, 8))])
    images, context = torch.rand(2, 3, 1, 8, 8)[0], torch.randn(3, 2)
    for figure in (
        plotting.reconstructions(flow, images, context=context, levels=2),
        plotting.interpolations(flow, images, images, context=context, steps=2, levels=2),
        plotting.attribute_arithmetic(flow, images, images, images, context=context[0], levels=2),
    ):
        assert tiles(figure, 8, 8).isfinite().all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.image_grid(torch.zeros(3, 8, 8)), r"C of 1 or 3; got \(3, 8, 8\)"),
        (lambda: plotting.image_grid(torch.zeros(3, 2, 8, 8)), r"C of 1 or 3; got \(3, 2, 8, 8\)"),
        (lambda: plotting.image_grid(torch.zeros(0, 1, 8, 8)), r"got \(0, 1, 8, 8\)"),
        (lambda: plotting.image_grid(torch.zeros(4, 1, 8, 8), row_labels=["a"]), "expected 2 labels"),
        (lambda: plotting.interpolations(flat(), *torch.zeros(2, 1, 1, 8, 8), steps=1), "steps ≥ 2"),
        (lambda: plotting.reconstructions(flat(), torch.zeros(1, 8, 8)), r"\(n, C, H, W\); got \(1, 8, 8\)"),
        (lambda: plotting.resampled_scales(flat(), torch.zeros(1, 1, 8, 8)), "Multiscale next to the base"),
    ],
)
def test_bad_arguments_raise(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
