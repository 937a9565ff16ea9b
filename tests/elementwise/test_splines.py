"""Rational-quadratic splines: the paper's formula, knots, bounds, hostile values, angles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyro_flows.elementwise import CircularRationalQuadratic, RationalQuadratic

SPLINES = {
    "linear-tails": RationalQuadratic(),
    "few-bins": RationalQuadratic(2, 1.5),
    "circular": CircularRationalQuadratic(5),
}
each = pytest.mark.parametrize("g", SPLINES.values(), ids=SPLINES.keys())
values = st.floats(-1e6, 1e6, width=32)


def knots(g, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The knots of one spline and its slopes there, in plain steps; params of shape (num_params,)."""
    k = g.bins
    circular = isinstance(g, CircularRationalQuadratic)
    bound = math.pi if circular else g.bound
    axes = []
    for raw in (params[:k], params[k : 2 * k]):
        sizes = 2 * bound * (g.min_size + (1 - g.min_size * k) * raw.exp() / raw.exp().sum())
        axes.append(torch.cat((params.new_zeros(1), sizes.cumsum(0))) - bound)
    raw = params[2 * k :]
    slopes = (raw / (1 + raw.abs() / -math.log(g.min_slope))).exp()
    one = params.new_ones(1)
    slopes = torch.cat((slopes, slopes[:1])) if circular else torch.cat((one, slopes, one))
    return axes[0], axes[1], slopes


def by_the_paper(x: float, xs: Tensor, ys: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Durkan et al. 2019, equations 4 and 5."""
    k = int((xs[1:-1] <= x).sum())
    width, height = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    s, xi = height / width, (x - xs[k]) / width
    below = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    y = ys[k] + height * (s * xi**2 + slopes[k] * xi * (1 - xi)) / below
    above = s**2 * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2)
    return y, (above / below**2).log()


@each
def test_is_the_papers(g):
    params = torch.randn(g.num_params, dtype=torch.float64)
    for x in torch.linspace(-1.49, 1.49, 41, dtype=torch.float64):
        wanted = by_the_paper(float(x), *knots(g, params))
        found = g.forward(x.reshape(1), params.reshape(-1, 1))
        torch.testing.assert_close(found, tuple(w.reshape(1) for w in wanted))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_knots_map_to_knots_with_their_slopes(g, dtype):
    for _ in range(10):
        params = (0.3 if dtype == torch.float32 else 1.0) * torch.randn(g.num_params, dtype=torch.float64)
        xs, ys, slopes = (v.to(dtype) for v in knots(g, params))
        tolerance = {"rtol": 2e-4, "atol": 2e-5} if dtype == torch.float32 else {}
        many = params.to(dtype).unsqueeze(-1).expand(-1, len(xs))
        for x in (xs, xs.nextafter(xs + 1), xs.nextafter(xs - 1)):
            torch.testing.assert_close(g.forward(x, many), (ys, slopes.log()), **tolerance)
        for y in (ys, ys.nextafter(ys + 1), ys.nextafter(ys - 1)):
            found, log_slope = g.inverse(y, many)
            assert (found - xs).abs().max() < 1e-3
            torch.testing.assert_close(log_slope, -slopes.log(), rtol=2e-2, atol=2e-2)


@each
def test_inverse_is_good_in_single_precision(g):
    torch.manual_seed(0)
    x = torch.randn(20_000, 1).clamp(-g.bound if hasattr(g, "bound") else -3, 3)
    params = 0.3 * torch.randn(20_000, g.num_params, 1)
    y, forward = g.forward(x, params)
    back, inverse = g.inverse(y, params)
    # The rounding of y, half a unit in the last place at 4, comes back times the inverse's slope.
    assert ((back - x).abs() / (1 + (-forward).exp())).max() < 1e-6
    assert (forward + inverse).abs().max() < 2e-5


@each
@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_any_numbers_give_numbers(g, data):
    x = torch.tensor([data.draw(values)], requires_grad=True)
    raw = data.draw(st.lists(values, min_size=g.num_params, max_size=g.num_params))
    params = torch.tensor(raw).unsqueeze(-1).requires_grad_()
    for run in (g.forward, g.inverse):
        y, log_slope = run(x, params)
        assert y.isfinite().all()
        assert log_slope.isfinite().all()
        gradients = torch.autograd.grad((y.sum() + log_slope.sum()), [x, params])
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert y.abs() <= max(abs(x.item()), getattr(g, "bound", math.pi)) * (1 + 1e-6) + 6.3


@settings(deadline=None, derandomize=True, max_examples=100)
@given(x=values, seed=st.integers(0, 99))
def test_increases(x, seed):
    g = RationalQuadratic()
    torch.manual_seed(seed)
    params = 2 * torch.randn(g.num_params, 1, dtype=torch.float64)
    near = torch.tensor([x % 6 - 3], dtype=torch.float64)
    assert g.forward(near, params)[0] < g.forward(near + 1e-6, params)[0]
    assert g.inverse(near, params)[0] < g.inverse(near + 1e-6, params)[0]


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_plausible_number_for_a_bad_one(g, bad):
    x = torch.tensor([0.3, bad, -0.2])
    params = torch.randn(g.num_params, 3, requires_grad=True)
    for run in (g.forward, g.inverse):
        y, log_slope = run(x, params)
        assert y.isfinite().tolist() == [True, False, True]
        (gradient,) = torch.autograd.grad(y[[0, 2]].sum() + log_slope[[0, 2]].sum(), params)
        assert gradient[:, [0, 2]].isfinite().all()


def test_tails_are_the_identity():
    g = RationalQuadratic(8, 3.0)
    x = torch.tensor([-1e6, -3.0001, 3.0001, 50.0, 1e6, math.inf])
    params = torch.randn(g.num_params, 6)
    for run in (g.forward, g.inverse):
        y, log_slope = run(x, params)
        assert torch.equal(y, x)
        assert torch.equal(log_slope, torch.zeros(6))


def test_angles_go_round():
    g = CircularRationalQuadratic(6)
    params = torch.randn(g.num_params, 1, dtype=torch.float64)
    x = torch.linspace(-3, 3, 50, dtype=torch.float64).unsqueeze(-1)
    y, log_slope = g.forward(x, params.unsqueeze(0))
    for turns in (-3, 1, 7):
        again, same = g.forward(x + 2 * math.pi * turns, params.unsqueeze(0))
        torch.testing.assert_close((again - 2 * math.pi * turns, same), (y, log_slope))
    ends = torch.tensor([[-math.pi], [math.pi - 1e-13]], dtype=torch.float64)
    at_ends, slopes = g.forward(ends, params.unsqueeze(0))
    torch.testing.assert_close(at_ends, ends)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bins", [1, 0, 1000])
@pytest.mark.parametrize("kind", [RationalQuadratic, CircularRationalQuadratic])
def test_bad_bins_are_an_error(kind, bins):
    with pytest.raises(ValueError, match="bins"):
        kind(bins)


@pytest.mark.parametrize("option", [{"bound": 0.0}, {"min_size": 0.0}, {"min_slope": 1.0}], ids=str)
def test_bad_options_are_errors(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        RationalQuadratic(**option)
