"""The toy densities integrate to one, agree with their samples, and have the entropies they state."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate
from sklearn.datasets import make_moons

from pyro_flows import datasets

DOUBLE = torch.empty(0, dtype=torch.float64)

# distribution, bounds (left, right, bottom, top) that hold all mass, grid cells a side, entropy in nats
CASES = {
    "moons, noise 0.05": (datasets.TwoMoons(0.05, like=DOUBLE), (-1.4, 2.4, -1.0, 1.5), 120, 0.289),
    "moons, noise 0.1": (datasets.TwoMoons(like=DOUBLE), (-2.0, 3.0, -1.4, 1.9), 96, 1.008),
    "moons, noise 0.2": (datasets.TwoMoons(0.2, like=DOUBLE), (-3.0, 4.0, -2.5, 3.0), 96, 1.677),
    "eight Gaussians": (datasets.EightGaussians(like=DOUBLE), (-6.0, 6.0, -6.0, 6.0), 144, 2.832),
    "checkerboard": (datasets.Checkerboard(like=DOUBLE), (-6.0, 6.0, -6.0, 6.0), 144, math.log(32)),
    "rings": (datasets.Rings(like=DOUBLE), (-4.0, 4.0, -4.0, 4.0), 144, None),
    "spirals": (datasets.Spirals(like=DOUBLE), (-4.2, 4.2, -4.2, 4.2), 168, None),
    "pinwheel": (datasets.Pinwheel(like=DOUBLE), (-6.0, 6.0, -6.0, 6.0), 240, None),
}
SMOOTH = [name for name in CASES if name != "checkerboard"]
cases = pytest.mark.parametrize("name", CASES)
smooth = pytest.mark.parametrize("name", SMOOTH)


def density_on_grid(name):
    """Log-densities at the middles of the cells, of shape (cells, cells), and the cell's area."""
    distribution, (left, right, bottom, top), cells, _ = CASES[name]
    middles = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    grid = torch.cartesian_prod(left + (right - left) * middles, bottom + (top - bottom) * middles)
    log_prob = torch.cat([distribution.log_prob(part) for part in grid.split(4096)])
    return log_prob.reshape(cells, cells), (right - left) * (top - bottom) / cells**2


@cases
def test_integrates_to_one_and_has_the_entropy_it_states(name):
    log_prob, area = density_on_grid(name)
    prob = log_prob.exp() * area
    assert abs(prob.sum().item() - 1) < 1e-8
    entropy = -torch.xlogy(prob, prob / area).sum().item()
    distribution, *_, stated = CASES[name]
    if stated is not None:
        assert entropy == pytest.approx(stated, abs=1e-3)
    log_prob = distribution.log_prob(distribution.sample((10_000,)))
    assert entropy == pytest.approx(-log_prob.mean().item(), abs=5 * log_prob.std().item() / 100 + 1e-6)


@cases
def test_samples_fall_where_the_density_is(name):
    distribution, (left, right, bottom, top), cells, _ = CASES[name]
    log_prob, area = density_on_grid(name)
    bins = 24
    prob = (log_prob.exp() * area).reshape(bins, cells // bins, bins, cells // bins).sum((1, 3))
    n = 40_000
    y = distribution.sample((n,))
    counts, _ = torch.histogramdd(y, bins=[bins, bins], range=[left, right, bottom, top])
    assert counts.sum() > n - 10
    expected, often = n * prob, n * prob > 5
    terms = (counts[often] - expected[often]).square() / expected[often]
    rare, rarely_seen = expected[~often].sum(), counts[~often].sum()
    degrees = often.sum().item()
    assert abs(terms.sum().item() - degrees) < 5 * math.sqrt(2 * degrees)
    assert abs(rarely_seen - rare) < 5 * rare.sqrt() + 10


def test_moons_have_the_geometry_of_scikit_learn():
    y = torch.from_numpy(make_moons(20_000, noise=0.1, random_state=0)[0])
    log_prob = datasets.TwoMoons(0.1).log_prob(y)
    assert -log_prob.mean().item() == pytest.approx(1.008, abs=5 * log_prob.std().item() / math.sqrt(20_000))


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.1, 1.0])
@pytest.mark.parametrize(
    "point", [(0.9, 0.1), (0.3, -0.2), (1.0, 0.5), (0.0, 0.0), (-1.0, 0.0), (-1.0, -0.01), (3.0, 2.0)]
)
def test_moons_quadrature_is_exact(point, noise):
    """Against adaptive quadrature in 40 panels for each arc."""

    def exponent(t, centre, side):
        across = point[0] - centre[0] - side * math.cos(t)
        up = point[1] - centre[1] - side * math.sin(t)
        return -(across**2 + up**2) / (2 * noise**2)

    arcs = [((0.0, 0.0), 1), ((1.0, 0.5), -1)]
    panels = torch.linspace(0, math.pi, 41, dtype=torch.float64).tolist()
    highest = max(exponent(t / 1000, *arc) for arc in arcs for t in range(3142))
    total = sum(
        integrate.quad(lambda t, arc=arc: math.exp(exponent(t, *arc) - highest), a, b, epsabs=1e-14)[0]
        for arc in arcs
        for a, b in itertools.pairwise(panels)
    )
    expected = highest + math.log(total) - math.log(4 * math.pi**2 * noise**2)
    log_prob = datasets.TwoMoons(noise).log_prob(torch.tensor(point, dtype=torch.float64))
    assert log_prob.item() == pytest.approx(expected, rel=1e-11, abs=1e-11)


@smooth
def test_derivatives(name):
    distribution = CASES[name][0]
    y = distribution.sample((4,)).requires_grad_()
    assert torch.autograd.gradcheck(distribution.log_prob, y)
    y = torch.tensor([[0.0, 0.0], [1.0, 0.5], [1e6, -1e6], [-1e6, 0.0]], requires_grad=True)
    assert torch.autograd.grad(distribution.log_prob(y).sum(), y)[0].isfinite().all()


@cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_points(name, dtype):
    distribution = CASES[name][0]
    far = torch.tensor([[1e6, 0], [0, -1e6], [-1e6, -1e6], [3e4, 1e6], [1e15, 1e15]], dtype=dtype)
    log_prob = distribution.log_prob(far)
    assert (log_prob < -1e6).all()
    assert log_prob.dtype == dtype
    y = torch.tensor([[0.1, math.nan], [0.1, 0.1], [math.nan, math.nan]], dtype=dtype)
    assert distribution.log_prob(y).isnan().tolist() == [True, False, True]


@cases
def test_shapes_and_dtypes(name):
    distribution = CASES[name][0]
    assert distribution.event_shape == (2,)
    assert distribution.sample().shape == (2,)
    assert distribution.sample((0,)).shape == (0, 2)
    assert distribution.log_prob(torch.zeros(0, 2)).shape == (0,)
    assert distribution.log_prob(torch.zeros(2)).shape == ()
    assert distribution.support.check(distribution.sample((9,))).all()
    wide = distribution.expand((3, 1)).expand((3, 4))
    assert type(wide) is type(distribution)
    assert distribution.batch_shape == ()
    assert wide.batch_shape == (3, 4)
    y = wide.sample((5,))
    assert y.shape == (5, 3, 4, 2)
    assert y.dtype == torch.float64
    assert wide.log_prob(y).shape == (5, 3, 4)
    assert wide.log_prob(torch.zeros(2)).shape == (3, 4)
    assert wide.to_event(1).log_prob(y).shape == (5, 3)
    assert type(distribution)().sample().dtype == torch.get_default_dtype()
    with pytest.raises(ValueError, match=r"expected values of event shape \(2,\); got shape \(5, 3\)"):
        distribution.log_prob(torch.zeros(5, 3))


@cases
def test_in_pyro(name):
    def model(data):
        with pyro.plate("points", len(data)):
            return pyro.sample("y", CASES[name][0], obs=data)

    data = CASES[name][0].sample((6,))
    trace = pyro.poutine.trace(model).get_trace(data)
    trace.compute_log_prob()
    assert trace.nodes["y"]["log_prob"].shape == (6,)


def test_checkerboard():
    board = datasets.Checkerboard()
    y = torch.tensor([[-3.9, -3.9], [0.1, 0.1], [-0.1, 0.1], [-4.1, -4.1], [4.0, 4.0], [3.9, -3.9]])
    assert board.log_prob(y).isfinite().tolist() == [True, True, False, False, False, False]
    assert board.expand((3,)).entropy().tolist() == pytest.approx([math.log(32)] * 3)
    y = torch.cat([board.sample((10**6,)) for _ in range(3)])  # float32 rounds onto edges now and then
    assert board.log_prob(y).isfinite().all()


def test_pinwheel_without_twist_is_a_mixture_of_normals():
    y = torch.randn(7, 2, dtype=torch.float64)
    blade = dist.Normal(y.new_tensor([2.0, 0.0]), y.new_tensor([0.6, 0.2])).to_event(1)
    pinwheel = datasets.Pinwheel(blades=1, twist=0.0)
    torch.testing.assert_close(pinwheel.log_prob(y), blade.log_prob(y))


def test_rings_are_radially_symmetric():
    t = torch.linspace(0, 6, 50, dtype=torch.float64)
    y = 1.4 * torch.stack([t.cos(), t.sin()], -1)
    log_prob = datasets.Rings().log_prob(y)
    torch.testing.assert_close(log_prob, log_prob[:1].expand(50))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: datasets.TwoMoons(0.0), "expected noise > 0 and finite; got 0.0"),
        (lambda: datasets.TwoMoons(math.nan), "expected noise > 0 and finite; got nan"),
        (lambda: datasets.EightGaussians(radius=-1.0), "expected radius > 0 and finite; got -1.0"),
        (lambda: datasets.Rings(radii=()), "expected at least one of radii; got none"),
        (lambda: datasets.Rings(radii=(1.0, -1.0)), "expected radii > 0 and finite; got -1.0"),
        (lambda: datasets.Spirals(half_turns=0), "expected half_turns ≥ 1; got 0"),
        (lambda: datasets.Spirals(spacing=math.inf), "expected spacing > 0 and finite; got inf"),
        (lambda: datasets.Pinwheel(blades=0), "expected blades ≥ 1; got 0"),
        (lambda: datasets.Pinwheel(twist=math.nan), "expected a finite twist; got nan"),
    ],
)
def test_bad_parameters_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_like_must_be_floating():
    with pytest.raises(TypeError, match=r"expected like to be a floating-point tensor; got torch.int64"):
        datasets.TwoMoons(like=torch.zeros(2, dtype=torch.int64))
