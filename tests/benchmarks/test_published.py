"""The published benchmarks' data by hand, and a run at a tiny size on made-up images."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the benchmarks are not shipped")


@pytest.fixture
def published(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("published", FOLDER / "published.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("peers", None)


def test_logits_of_pixels_by_hand(published):
    pixels = torch.tensor([[0, 128, 255]], dtype=torch.uint8)
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(3))
    p = 1e-6 + (1 - 2e-6) * (pixels.double() + noise.double()) / 256
    found = published.logits(pixels, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.double(), p.logit(), rtol=1e-5, atol=1e-5)


def test_patches_have_no_mean_and_no_last_pixel(published):
    image = np.add.outer(10 * np.arange(9), np.arange(12)).astype(np.uint8)  # every patch has the same shape
    rows = published.patches([image, image], 7, torch.Generator().manual_seed(0))
    assert rows.shape == (7, 63)
    step = np.add.outer(10 * np.arange(8), np.arange(8)).flatten() / 256
    wanted = torch.from_numpy(step - step.mean())[:-1].float()
    assert (rows - wanted).abs().max() < 1 / 256  # the noise is below one grey level


def test_a_gaussian_scores_as_its_closed_form(published):
    rows = torch.randn(20_000, 3) * torch.tensor([0.5, 1.0, 2.0])
    entropy = 1.5 * math.log(2 * math.pi * math.e)
    assert abs(published.gaussian(rows, rows).mean() + entropy) < 0.05


def test_both_run_on_made_up_images(published, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for folder, count in (("train", 3), ("test", 1)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            pixels = generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    digits = {
        name: generator.integers(0, 256, (60, 28, 28), dtype=np.uint8) for name in ("x_train", "x_test")
    }
    np.savez(tmp_path / "mnist.npz", **digits)
    small = ["--depth", "1", "--hidden", "8", "--epochs", "1", "--batch", "20"]
    published.main(["mnist", "--data", str(tmp_path / "mnist.npz"), "--flow", "real-nvp", *small])
    told = capsys.readouterr().out
    assert "50 training, 10 validation and 60 test rows" in told
    assert "| MAF (5) | −1300.5 (published) |" in told
    assert "real-nvp, 1 layers of (8,)" in told
    published.main(["bsds300", "--data", str(tmp_path), "--flow", "maf", "--fraction", "0.0001", *small])
    told = capsys.readouterr().out
    assert "100 training, 5 validation and 25 test rows" in told
    with pytest.raises(SystemExit, match="no images"):
        published.main(["bsds300", "--data", str(tmp_path / "nowhere"), *small])
