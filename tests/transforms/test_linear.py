"""Linear maps and their matrices: where they start, what they solve, how they behave when ill-conditioned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.matrices import LU, Orthogonal, Triangular, random_rotation

MAKERS = {
    "lu": lambda d: LU(d),
    "lu-rotation": lambda d: LU(d, start=random_rotation(d)),
    "triangular": lambda d: Triangular(d),
    "triangular-upper": lambda d: Triangular(d, upper=True),
    "orthogonal": lambda d: Orthogonal(d),
    "orthogonal-random": lambda d: Orthogonal(d, 3, random=True),
}


def _noisy(matrix, scale=0.3):
    with torch.no_grad():
        for parameter in matrix.parameters():
            parameter += scale * torch.randn_like(parameter)
    return matrix.double()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(size=st.integers(1, 9))
@settings(max_examples=9, deadline=None)
def test_solves_and_determinants_are_those_of_the_dense_matrix(make, size):
    matrix = _noisy(make(size))
    dense, columns = matrix(), torch.randn(size, 4, dtype=torch.float64)
    torch.testing.assert_close(matrix.solve(columns), torch.linalg.solve(dense, columns))
    torch.testing.assert_close(matrix.log_det(), torch.linalg.slogdet(dense).logabsdet)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_starts(size):
    eye = torch.eye(size)
    for matrix in (LU(size), Triangular(size), Triangular(size, upper=True), Orthogonal(size)):
        torch.testing.assert_close(matrix(), eye)
    for start in (random_rotation(size), torch.randn(size, size), -eye, eye.flip(0)):
        torch.testing.assert_close(LU(size, start=start)(), start)


def test_orthogonality():
    for reflections in (1, 2, 5, 12):
        q = _noisy(Orthogonal(8, reflections, random=True), 1.0)()
        torch.testing.assert_close(q @ q.mT, torch.eye(8, dtype=torch.float64))
        assert torch.linalg.det(q).sign() == (-1) ** reflections
    q = Orthogonal(64, random=True)()
    torch.testing.assert_close(q @ q.mT, torch.eye(64), atol=1e-5, rtol=0)


def test_orthogonal_is_the_product_of_its_reflections():
    matrix = Orthogonal(4, 3, random=True).double()
    product = torch.eye(4, dtype=torch.float64)
    for v in matrix.vectors.T:
        product = product @ (torch.eye(4) - 2 * torch.outer(v, v) / v.dot(v))
    torch.testing.assert_close(matrix(), product)


def test_orthogonal_leaves_the_identity_when_trained():
    torch.manual_seed(0)
    wanted, matrix = random_rotation(4), Orthogonal(4)
    optimiser = torch.optim.Adam(matrix.parameters(), lr=0.03)
    for _ in range(600):
        optimiser.zero_grad()
        (matrix() - wanted).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(matrix(), wanted, atol=1e-3, rtol=0)


def test_random_rotations():
    torch.manual_seed(0)
    found = torch.stack([random_rotation(3) for _ in range(2000)])
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(2000))
    torch.testing.assert_close(found.mean(0), torch.zeros(3, 3), atol=0.06, rtol=0)  # 4.6 standard errors
    assert random_rotation(5).dtype == torch.get_default_dtype()
    one, two = (random_rotation(3, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two)


def test_lu_keeps_where_it_started():
    old, new = LU(5, start=random_rotation(5)), LU(5, start=random_rotation(5))
    assert not torch.allclose(old(), new())
    new.load_state_dict(old.state_dict())
    assert torch.equal(old(), new())


def test_scoring_an_image_convolves():
    layer = tr.generalized_channel_permute(3)
    y = torch.randn(2, 5, 3, 4, 6)
    weight = torch.linalg.inv(layer.matrix())[..., None, None]
    wanted = torch.nn.functional.conv2d(y.flatten(0, 1), weight).unflatten(0, (2, 5))
    torch.testing.assert_close(layer.inv(y), wanted)
    log_det = layer.inv.log_abs_det_jacobian(y, layer.inv(y))
    torch.testing.assert_close(log_det, torch.zeros(2, 5), atol=1e-4, rtol=0)


def test_round_trip_of_an_ill_conditioned_matrix_in_single_precision():
    """Substitution leaves a residual near rounding even where a materialised inverse loses digits."""
    torch.manual_seed(0)
    stretched = random_rotation(16) @ torch.logspace(-3, 3, 16).diag() @ random_rotation(16)
    layer = tr.Linear(LU(16, start=stretched), bias=False)
    y = torch.randn(100, 16)
    torch.testing.assert_close(layer(layer.inv(y)), y, atol=2e-4, rtol=0)


def test_triangular_map_of_noise_learns_a_gaussian():
    torch.manual_seed(0)
    scale = torch.tensor([[2.0, 0.0], [-3.0, 0.5]], dtype=torch.float64)
    y = torch.randn(4000, 2, dtype=torch.float64) @ scale.T + 7
    flow = pf.Flow(tr.Linear(Triangular(2))).double()
    optimiser = torch.optim.LBFGS(flow.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = -flow().log_prob(y).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    known = torch.distributions.MultivariateNormal(y.mean(0), torch.cov(y.T, correction=0))
    torch.testing.assert_close(flow().log_prob(y), known.log_prob(y), atol=1e-3, rtol=0)


def test_bad_arguments():
    with pytest.raises(ValueError, match="size ≥ 1"):
        LU(0)
    with pytest.raises(ValueError, match=r"start of shape \(3, 3\)"):
        LU(3, start=torch.eye(2))
    for singular in (torch.zeros(2, 2), torch.full((2, 2), float("nan"))):
        with pytest.raises(ValueError, match="singular"):
            LU(2, start=singular)
    with pytest.raises(ValueError, match="even number of reflections"):
        Orthogonal(3, 3)
    with pytest.raises(ValueError, match="reflections ≥ 1"):
        Orthogonal(3, 0)
    with pytest.raises(ValueError, match="3 features"):
        tr.Linear(LU(3), event_dim=3)(torch.zeros(5, 2, 3, 3))
