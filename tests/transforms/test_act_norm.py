"""Act norm: what the first batch sets, and that it happens once."""

import copy

import pytest
import torch

from pyro_flows.transforms import ActNorm

NAN = float("nan")


def _data(rows=40):
    return torch.randn(rows, 3) * torch.tensor([0.1, 1.0, 30.0]) + 5


def test_first_batch_comes_out_standardised():
    layer = ActNorm(3)
    x, log_det = layer.inverse_and_log_det(_data())
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, unbiased=False), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(log_det, -layer.log_scale.sum().expand(40))


def test_only_the_first_batch_counts():
    layer = ActNorm(3)
    layer.inverse_and_log_det(_data())
    before = copy.deepcopy(layer.state_dict())
    layer.inverse_and_log_det(_data() * 7)
    copy.deepcopy(layer).inverse_and_log_det(_data() * 7)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("how", ["eval", "no_grad", "forward", "vmap", "one row", "nan rows", "no rows"])
def test_waits_for_a_batch_to_train_on(how):
    layer, y = ActNorm(3), _data()
    if how == "eval":
        layer.eval().inverse_and_log_det(y)
    elif how == "no_grad":
        with torch.no_grad():
            layer.inverse_and_log_det(y)
    elif how == "forward":
        layer.forward_and_log_det(y)
    elif how == "vmap":
        torch.vmap(layer.inverse_and_log_det)(y)
    else:
        x, _ = layer.inverse_and_log_det({"one row": y[:1], "no rows": y[:0], "nan rows": y * NAN}[how])
        torch.testing.assert_close(x[:1], y[: len(x)][:1] * (NAN if how == "nan rows" else 1), equal_nan=True)
    assert not layer.initialised
    assert not layer.loc.any()
    layer.train().inverse_and_log_det(y)
    assert layer.initialised


def test_bad_rows_are_left_out():
    y = _data()
    clean, dirty = ActNorm(3), ActNorm(3)
    clean.inverse_and_log_det(y)
    dirty.inverse_and_log_det(torch.cat([y, torch.tensor([[0.0, NAN, 0.0]])]))
    torch.testing.assert_close(dirty.state_dict(), clean.state_dict())


def test_first_batch_has_gradients():
    layer = ActNorm(3)
    x, log_det = layer.inverse_and_log_det(_data())
    (x.square().sum() * 2 - log_det.sum()).backward()
    assert layer.log_scale.grad.abs().min() > 0
    assert layer.loc.grad.isfinite().all()


def test_initialisation_is_saved():
    old, new = ActNorm(3), ActNorm(3)
    old.inverse_and_log_det(_data())
    new.load_state_dict(old.state_dict())
    new.inverse_and_log_det(_data() * 7)
    torch.testing.assert_close(new.state_dict(), old.state_dict(), rtol=0, atol=0)


def test_loading_an_unset_layer_sets_it_again():
    layer = ActNorm(3)
    blank = copy.deepcopy(layer.state_dict())
    layer.inverse_and_log_det(_data())
    layer.load_state_dict(blank)
    layer.inverse_and_log_det(_data() + 100)
    assert layer.loc.min() > 50


def test_images_have_one_pair_a_channel():
    y = torch.randn(7, 2, 3, 5) * 4 + 2
    layer = ActNorm(2, event_dim=3)
    x, log_det = layer.inverse_and_log_det(y)
    torch.testing.assert_close(layer.loc.detach(), y.mean((0, 2, 3)))
    torch.testing.assert_close(x.var((0, 2, 3), unbiased=False), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(log_det, (-layer.log_scale.sum() * 15).expand(7))


def test_constant_column_stays_finite():
    y = _data()
    y[:, 1] = 3.0
    x, log_det = ActNorm(3).inverse_and_log_det(y)
    assert x.isfinite().all()
    assert log_det.isfinite().all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="eps"):
        ActNorm(2, eps=0.0)
    with pytest.raises(ValueError, match="num_features"):
        ActNorm(0)
