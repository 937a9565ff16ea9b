"""When a fit ends, and how fast its learning rate comes down."""

import pytest
import torch

from pyro_flows.infer import VISettings
from pyro_flows.infer.vi import convergence
from pyro_flows.infer.vi.convergence import Convergence


def weights(half_variance, mean=0.0):
    """Log-weights of a Gaussian with exactly these moments, as many as wanted."""

    def found(count):
        z = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
        return mean + z / z.std() * (2 * half_variance) ** 0.5

    return found


def checked(half_variances, *, steps=2000, learns=False, bounds=None):
    settings = VISettings(steps=steps, tolerance=1e-3)
    found = Convergence(settings, learns=learns)
    bounds = bounds or [0.0] * len(half_variances)
    for i, (half_variance, mean) in enumerate(zip(half_variances, bounds, strict=True)):
        found.check(100 * i, weights(half_variance, mean))
        if found.ends(100 * i):
            return found, 100 * i
    return found, None


def test_ends_when_the_weights_hardly_vary():
    found, step = checked([1.0, 0.02, 0.0009, 0.0])
    assert step == 200
    assert found.converged


def test_ends_half_way_only_if_it_is_near():
    found, step = checked([1.0] * 10 + [0.0049] * 11)
    assert step == 1000
    assert not found.converged
    assert checked([1.0] * 10 + [0.0051] * 11)[1] == 2000


def test_many_dimensions_have_a_larger_tolerance_up_to_a_limit():
    tolerances = [
        Convergence(VISettings(tolerance=1e-3), learns=False, dim=d).tolerance for d in (1, 50, 125, 9999)
    ]
    assert tolerances == pytest.approx([1e-3, 1e-3, 2.5e-3, 6e-3])
    found = Convergence(VISettings(tolerance=1e-3), learns=False, dim=125)
    found.check(100, weights(0.0024))
    assert found.converged


def test_a_fit_that_is_near_early_gets_a_short_first_half():
    found, step = checked([1.0, 0.1, 0.1, 0.004, 0.004, 0.003, 0.003])
    assert (found.half, step) == (600, 600)
    assert found.rate(300) == pytest.approx(0.5, abs=0.03)
    assert found.rate(599) == pytest.approx(0.01, abs=0.001)
    assert checked([1.0, 0.004, 0.004, 0.004, 0.004])[1] == 400
    back, step = checked([1.0, 0.1, 0.1, 0.004, 0.1, 0.1, 0.1, 0.1])  # no longer near when it would end
    assert (back.half, step) == (1000, None)


def test_a_good_start_gets_a_short_first_half_that_is_doubled_until_it_suffices():
    assert checked([0.09] * 4 + [0.004])[1] == 400
    found, step = checked([0.09] * 8 + [0.004])
    assert (found.half, step) == (800, 800)
    assert found.rate(450) > 10 * found.rate(799)
    found, step = checked([0.09] * 21)
    assert (found.half, step) == (1000, 2000)
    assert checked([0.11] * 4 + [0.004], learns=False)[1] is None
    assert checked([0.09] * 4 + [0.004], learns=True)[1] is None


def test_rare_heavy_weights_do_not_feign_convergence():
    light = torch.zeros(convergence.CHECK_DRAWS, dtype=torch.float64)
    heavy = torch.zeros(convergence.FINAL_DRAWS, dtype=torch.float64)
    heavy[::1000] = 2.0
    found = Convergence(VISettings(tolerance=1e-3), learns=False)
    found.check(0, lambda count: light if count == len(light) else heavy)
    assert not found.converged
    found.check(100, lambda count: torch.zeros(count, dtype=torch.float64))
    assert found.converged
    levels = (torch.arange(convergence.FINAL_DRAWS, dtype=torch.float64) + 0.5) / convergence.FINAL_DRAWS
    found.check(200, lambda count: (1e-6 / levels).log1p()[:count])  # a Pareto tail of k = 1
    assert found.half_variance[-1] < 1e-3
    assert not found.converged


def test_parameters_of_the_model_are_given_the_first_half_and_until_the_bound_stays():
    found, step = checked([0.0] * 21, learns=True)
    assert step == 1000
    assert found.converged
    rising = [0.1 * i for i in range(21)]
    found, step = checked([0.0] * 21, learns=True, bounds=rising)
    assert step == 2000
    assert not found.converged


def test_is_saved_and_restored():
    found, _ = checked([1.0, 0.1, 0.1, 0.004])
    other = Convergence(found.settings, learns=False)
    other.load(found.state())
    assert vars(other) == vars(found)
