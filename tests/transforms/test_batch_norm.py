"""Batch norm: running averages, gradients, bad rows, images and ranks."""

import pytest
import torch

from pyro_flows.transforms import BatchNorm

from ..helpers.ranks import two_ranks

NAN, INF = float("nan"), float("inf")


def _layer(decay=0.9, **options):
    return BatchNorm(2, decay=decay, **options).double()


def _batches(count, rows=6):
    return torch.randn(count, rows, 2, dtype=torch.float64) * 3 + 1


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_running_averages_by_hand(decay):
    layer, batches = _layer(decay), _batches(4)
    mean = variance = torch.zeros(2, dtype=torch.float64)
    for t, y in enumerate(batches, 1):
        mean = decay * mean + (1 - decay) * y.mean(0)
        variance = decay * variance + (1 - decay) * y.var(0, unbiased=False)
        corrected = mean / (1 - decay**t), variance / (1 - decay**t) + layer.eps
        x, log_det = layer.inverse_and_log_det(y)
        torch.testing.assert_close(x, (y - corrected[0]) / corrected[1].sqrt())
        torch.testing.assert_close(log_det, (-0.5 * corrected[1].log().sum()).expand(6))


def test_first_batch_starts_standardised():
    (y,) = _batches(1, 50)
    x, _ = _layer(0.99).inverse_and_log_det(y)
    torch.testing.assert_close(x.mean(0), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(
        x.var(0, unbiased=False), torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0
    )


def test_gradient_passes_through_the_current_batch_only():
    decay, (first, second) = 0.5, _batches(2)
    layer = _layer(decay)
    first.requires_grad_()
    layer.inverse_and_log_det(first)
    mean, variance = layer.moments.mean.clone(), layer.moments.variance.clone()
    second.requires_grad_()
    weights = torch.randn(6, 2, dtype=torch.float64)
    x, log_det = layer.inverse_and_log_det(second)
    found = torch.autograd.grad((x * weights).sum() + log_det.sum(), [second, first], allow_unused=True)
    assert found[1] is None
    step = (1 - decay) / (1 - decay**2)
    mean = mean + step * (second.mean(0) - mean)
    variance = variance + step * (second.var(0, unbiased=False) - variance) + layer.eps
    by_hand = ((second - mean) / variance.sqrt() * weights).sum() - 3 * variance.log().sum()
    torch.testing.assert_close(found[0], torch.autograd.grad(by_hand, second)[0])


def test_sampling_in_training_inverts_the_last_scoring():
    layer = _layer()
    for y in _batches(3):
        x, log_det = layer.inverse_and_log_det(y)
        back, forward = layer.forward_and_log_det(x)
        torch.testing.assert_close(back, y)
        torch.testing.assert_close(forward, -log_det)


def _frozen_by(how):
    layer = _layer()
    layer.inverse_and_log_det(_batches(1)[0])
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    how(layer, _batches(1)[0])
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_statistics_stay_without_gradients():
    with torch.no_grad():
        layer = _layer()
        layer.inverse_and_log_det(_batches(1)[0])
    assert not layer.moments.weight.any()

    def score(layer, y):
        with torch.no_grad():
            layer.inverse_and_log_det(y)

    _frozen_by(score)


def test_statistics_stay_in_evaluation_in_sampling_and_under_functorch():
    _frozen_by(lambda layer, y: layer.eval().inverse_and_log_det(y))
    _frozen_by(lambda layer, y: layer.forward_and_log_det(y))
    _frozen_by(lambda layer, y: torch.vmap(layer.inverse_and_log_det)(y))
    _frozen_by(lambda layer, y: torch.func.grad(lambda y: layer.inverse_and_log_det(y)[1].sum())(y))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_bad_rows_are_left_out(bad):
    (y,) = _batches(1)
    clean, dirty = _layer(), _layer()
    wanted, _ = clean.inverse_and_log_det(y)
    x, _ = dirty.inverse_and_log_det(torch.cat([y, torch.tensor([[1.0, bad]], dtype=y.dtype)]))
    torch.testing.assert_close(x[:-1], wanted)
    assert not x[-1].isfinite().all()
    torch.testing.assert_close(dirty.state_dict(), clean.state_dict())


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0, 2.0], [NAN, 1.0]], [[NAN, NAN]], []])
def test_fewer_than_two_finite_rows_use_the_running_values(rows):
    y = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)

    def score(layer, _):
        wanted = (y - layer.moments.mean) / (layer.moments.variance + layer.eps).sqrt()
        x, log_det = layer.inverse_and_log_det(y)
        torch.testing.assert_close(x, wanted, equal_nan=True)
        assert log_det.isfinite().all()

    _frozen_by(score)


def test_several_batch_dimensions_count_as_one():
    (y,) = _batches(1, 12)
    flat, folded = _layer(), _layer()
    x, log_det = flat.inverse_and_log_det(y)
    found = folded.inverse_and_log_det(y.reshape(3, 4, 2))
    torch.testing.assert_close(found, (x.reshape(3, 4, 2), log_det.reshape(3, 4)))


def test_images_have_one_pair_a_channel():
    y = torch.randn(7, 2, 3, 5, dtype=torch.float64) * 4 + 2
    layer = _layer(event_dim=3)
    x, log_det = layer.inverse_and_log_det(y)
    columns = y.transpose(0, 1).reshape(2, -1)
    variance = columns.var(1, unbiased=False) + layer.eps
    torch.testing.assert_close(layer.moments.mean, columns.mean(1))
    torch.testing.assert_close(x[0, 1], (y[0, 1] - columns[1].mean()) / variance[1].sqrt())
    torch.testing.assert_close(log_det, (-0.5 * variance.log().sum() * 15).expand(7))


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": -0.1}, {"eps": 0.0}, {"event_dim": 0}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="expected"):
        BatchNorm(2, **options)


@pytest.mark.parametrize("shape", [(5, 3), ()])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="expected 2 features"):
        BatchNorm(2).inverse_and_log_det(torch.zeros(shape))


def _scored(rows, layer):
    weight = torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    for y in rows:
        y = y * weight
        x, log_det = layer.inverse_and_log_det(y)
        (x.pow(3).sum() + log_det.sum()).backward()
    return weight.grad, layer.state_dict()


def _on_one_rank(rank, batches):
    batches = torch.tensor(batches, dtype=torch.float64)
    mine = [y[:2] if rank == 0 else y[2:] for y in batches]  # ranks of unequal size
    gradient, state = _scored(mine, _layer(0.5))
    torch.distributed.all_reduce(gradient)
    return gradient.tolist(), {name: value.tolist() for name, value in state.items()}


def test_two_ranks_equal_one_process():
    batches = _batches(2)
    gradient, state = two_ranks(_on_one_rank, batches.tolist())
    wanted_gradient, wanted_state = _scored(batches, _layer(0.5))
    torch.testing.assert_close(torch.tensor(gradient, dtype=torch.float64), wanted_gradient)
    for name, value in wanted_state.items():
        torch.testing.assert_close(torch.tensor(state[name], dtype=torch.float64), value)
