"""Squeeze, reshape and multiscale, by hand."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows import transforms as tr

from ..cases.registry import CASES


def test_squeeze_orders_by_hand():
    y = torch.arange(32).reshape(2, 4, 4)
    plain, _ = tr.Squeeze().inverse_and_log_det(y)
    assert plain[:, 0, 0].tolist() == [0, 1, 4, 5, 16, 17, 20, 21]
    ordered, _ = tr.Squeeze(alternating=True).inverse_and_log_det(y)
    assert ordered[:, 0, 0].tolist() == [0, 16, 5, 21, 1, 17, 4, 20]
    # Halves of the channels are the sides of a checkerboard.
    first, second = pf.partitions.CheckerboardDepth().split(y)
    assert torch.equal(ordered, torch.cat([first, second]))


def test_squeeze_names_the_size_needed():
    with pytest.raises(ValueError, match="4×8 is needed"):
        tr.Squeeze((1, 3, 8))
    with pytest.raises(ValueError, match="4×8 is needed"):
        tr.Squeeze()(torch.zeros(4, 2, 4)) + tr.Squeeze().inv(torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="multiple of 4 channels"):
        tr.Squeeze()(torch.zeros(3, 2, 2))


def test_reshape_counts_elements():
    with pytest.raises(ValueError, match="equally many elements"):
        tr.Reshape((6,), (1, 2, 2))


def test_multiscale_latents_are_read_and_set():
    case = CASES["multiscale"]
    t = case.build(torch.float64)
    y = torch.randn(5, 1, 4, 8, dtype=torch.float64)
    x = t.inv(y)
    fine, coarse = latents = t.split(x)
    assert [z.shape for z in latents] == [(5, 2, 2, 4), (5, 8, 1, 2)]
    assert torch.equal(t.join(latents), x)
    # Fine detail drawn anew changes the image, and leaves the coarse latent as it is.
    other = t(t.join([torch.randn_like(fine), coarse]))
    assert not torch.allclose(other, y)
    torch.testing.assert_close(t.split(t.inv(other))[1], coarse, rtol=0, atol=1e-9)


def test_multiscale_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"next scale to take images of \(2, 2, 4\)"):
        tr.Multiscale([tr.Squeeze((1, 4, 8)), tr.Squeeze((4, 2, 4))])
    with pytest.raises(ValueError, match="at least one scale"):
        tr.Multiscale([])
    with pytest.raises(ValueError, match="channels to halve"):
        tr.Multiscale([tr.Reshape((1, 4, 4), (1, 4, 4)), tr.Squeeze((1, 4, 4))])
    with pytest.raises(ValueError, match="tell their shapes"):
        tr.Multiscale([tr.Squeeze()])


def test_nice_on_images_as_in_the_paper():
    flow = pf.Flow(pf.Chain([pf.nice(16), tr.Reshape((16,), (1, 4, 4))]), base=pf.bases.logistic(16))
    y = flow().sample((7,))
    assert y.shape == (7, 1, 4, 4)
    assert flow().log_prob(y).shape == (7,)


def test_statistics_are_recomputed_through_scales():
    def scale(shape, squeezed):
        return pf.Chain(
            [tr.BatchNorm(squeezed[0], event_dim=3), tr.Squeeze(shape), tr.BatchNorm(shape[0], event_dim=3)]
        )

    t = tr.Multiscale([scale((1, 4, 8), (4, 2, 4)), scale((2, 2, 4), (8, 1, 2))]).double()
    data = torch.randn(50, 1, 4, 8, dtype=torch.float64) * 3 + 7
    pf.update_statistics(t, data, batch_size=20)
    x = t.eval().inverse_and_log_det(data)[0]
    for z in t.split(x):  # each feature of each latent is standardised by the last layer it passed
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros_like(z[0, :, 0, 0]), atol=1e-6, rtol=0)
        torch.testing.assert_close(z.var((0, 2, 3)), torch.ones_like(z[0, :, 0, 0]), atol=0.02, rtol=0)
