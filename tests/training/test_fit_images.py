"""What `fit` adds for images: averaged weights, flips, bits per dimension."""

import math

import pytest
import torch

import pyro_flows as pf

from .test_resume import IMAGES, pixels


def fit(flow, data=IMAGES, **options):
    options = {"epochs": 2, "batch_size": 20, "progress": False, "learning_rate": 0.01} | options
    return pf.fit(flow, data, **options)


def flow_of(norm=pf.transforms.ActNorm):
    torch.manual_seed(1)
    return pf.Flow(pixels(norm))


def test_the_average_is_of_the_weights_after_each_step():
    one, two = flow_of(), flow_of()
    seen = []

    def schedule(progress):
        seen.append([p.detach().clone() for p in one.parameters()])
        return 1.0

    plain = fit(one, validation=0, schedule=schedule)
    averaged = fit(two, validation=0, ema=0.7, schedule=lambda progress: 1.0)
    assert averaged.train_loss == plain.train_loss
    steps = [*seen[1 : plain.steps], [p.detach() for p in one.parameters()]]
    wanted = steps[0]
    for t, values in enumerate(steps):
        rho = min(0.7, (1 + t) / (10 + t))
        wanted = [rho * old + (1 - rho) * new for old, new in zip(wanted, values, strict=True)]
    assert len(steps) == plain.steps == 12
    torch.testing.assert_close([p.detach() for p in two.parameters()], wanted)
    assert not torch.allclose(wanted[0], steps[-1][0])


def test_the_average_is_validated_and_kept_with_its_own_statistics():
    flow = flow_of(pf.transforms.BatchNorm)
    held_out = IMAGES[:40]
    history = fit(flow, IMAGES[40:], validation=held_out, epochs=4, ema=0.9)
    plain = fit(flow_of(pf.transforms.BatchNorm), IMAGES[40:], validation=held_out, epochs=4)
    assert history.train_loss == plain.train_loss
    assert history.val_loss != plain.val_loss
    scores = pf.bits_per_dim(flow, held_out, draws=200)
    assert scores.mean() == pytest.approx(history.bits_per_dim(history.best_loss), abs=0.1)
    moments = flow.transform[2].moments
    kept = {name: value.clone() for name, value in moments.state_dict().items()}
    pf.update_statistics(flow, IMAGES[40:])  # with other noise
    for name, value in moments.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0.1, atol=0.1)


def test_flips_mirror_about_half_of_the_rows():
    images = torch.arange(8000.0).reshape(1000, 1, 2, 4)
    torch.manual_seed(0)
    flipped = pf.training.random_flips(images)
    changed = (flipped != images).flatten(1).any(1)
    assert 430 < changed.sum() < 570
    assert torch.equal(flipped[~changed], images[~changed])
    assert torch.equal(flipped[changed], images[changed].flip(-1))
    torch.manual_seed(0)
    assert torch.equal(flipped, pf.training.random_flips(images))
    with pytest.raises(ValueError, match=r"\(rows, C, H, W\); got \(3, 4\)"):
        pf.training.random_flips(torch.zeros(3, 4))


def test_only_training_rows_are_augmented():
    seen = []

    def look(images):
        seen.append(len(images))
        return images

    plain, looked = fit(flow_of()), fit(flow_of(), augment=look)
    assert seen == [20] * plain.steps
    assert looked.val_loss == plain.val_loss
    assert fit(flow_of(), augment=pf.training.random_flips).train_loss != plain.train_loss


def test_histories_of_whole_numbers_tell_bits(capsys):
    history = fit(flow_of(), progress=True)
    assert history.dims == 8
    assert history.bits_per_dim(8 * math.log(2)) == pytest.approx(1)
    bits = history.bits_per_dim(history.val_loss[-1])
    assert f"validation {bits:.4f}, best" in capsys.readouterr().err
    assert pf.plotting.loss_curve(history).axes[0].lines[1].get_ydata()[-1] == pytest.approx(bits)
    real = pf.fit(pf.Flow(pf.nice(2, depth=2)), torch.randn(50, 2), epochs=1, progress=False)
    with pytest.raises(ValueError, match="over real numbers"):
        real.bits_per_dim(1.0)


@pytest.mark.parametrize(
    "family",
    [
        lambda shape: pf.glow(shape, depth=2, width=8),
        lambda shape: pf.real_nvp_image(shape, scales=1, blocks=1, width=4),
    ],
    ids=["glow", "real_nvp_image"],
)
def test_networks_in_bfloat16_leave_bits_fine(family):
    torch.manual_seed(1)
    images = torch.randint(0, 17, (60, 1, 4, 4)) // torch.randint(1, 5, (60, 1, 1, 1))
    flow = pf.Flow([family((1, 4, 4)), *pixels(None)[-2:]])
    history = fit(flow, images, precision="bf16", epochs=4)
    assert history.train_loss[-1] < history.train_loss[0]
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(pf.bits_per_dim(flow, images))
    error = found[1] - found[0]
    assert 0 < error.abs().max() < 0.02
    assert error.mean().abs() < 0.002


def test_ema_has_a_range():
    with pytest.raises(ValueError, match=r"ema in \[0, 1\); got 1"):
        pf.training.Settings(ema=1)
