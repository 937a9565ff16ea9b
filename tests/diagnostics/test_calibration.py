"""Simulation-based calibration finds wrong posteriors, and only those."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_flows as pf
from pyro_flows.diagnostics.uniformity import ecdf_band, symmetry_p_value, uniformity_p_value


def conjugate(n=4):
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", n):
        pyro.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.zeros(n, 2))


def answer(shift=0.0, width=1.0, draws=99):
    def posterior(model, data):
        scale = 1 / math.sqrt(5)
        return {"x": dist.Normal(data["y"].sum(0) / 5 + shift * scale, width * scale).sample((draws,))}

    return posterior


@pytest.mark.parametrize(
    ("shift", "width", "word"),
    [
        (0.0, 1.0, "calibrated"),
        (0.5, 1.0, "too high"),
        (-0.5, 1.0, "too low"),
        (0.0, 0.6, "too narrow"),
        (0.0, 1.7, "too wide"),
    ],
)
def test_words_for_what_is_wrong(shift, width, word):
    found = pf.diagnostics.calibrate(conjugate, answer(shift, width), num_simulations=300, progress=False)
    assert found.verdicts() == {"x[0]": word, "x[1]": word}
    assert found.ranks["x[0]"].shape == (300,)
    if word == "calibrated":
        assert min(found.symmetry().values()) > 0.01
    if word in ("too high", "too low"):
        assert max(found.symmetry().values()) < 0.01
    lines = str(found).splitlines()
    assert lines[0] == "300 simulations, 99 draws"
    assert lines[2].endswith(word)


def test_a_guide_as_the_answer():
    def posterior(model, data):
        def guide():
            pyro.sample("x", dist.Normal(data["y"].sum(0) / 5, 1 / math.sqrt(5)).to_event(1))

        return guide

    found = pf.diagnostics.calibrate(conjugate, posterior, num_simulations=20, num_samples=19, progress=False)
    assert found.verdicts() == {"x[0]": "calibrated", "x[1]": "calibrated"}
    assert found.num_samples == 19


def test_the_model_that_is_handed_out_has_the_simulated_data():
    seen = []

    def posterior(model, data):
        trace = pyro.poutine.trace(model).get_trace()
        assert trace.nodes["y"]["is_observed"]
        assert trace.nodes["y"]["value"] is data["y"]
        assert not trace.nodes["x"]["is_observed"]
        seen.append(data["y"])
        return answer()(model, data)

    pf.diagnostics.calibrate(conjugate, posterior, num_simulations=20, progress=False)
    ys = torch.stack(seen)
    assert ys.unique(dim=0).shape[0] == 20
    assert float(ys.std()) == pytest.approx(math.sqrt(2), abs=0.4)


def test_deterministic_sites_and_latent_shapes():
    def model():
        with pyro.plate("school", 3):
            theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
            pyro.deterministic("double", 2 * theta)
            pyro.sample("y", dist.Normal(theta, 1.0), obs=torch.zeros(3))

    found = pf.diagnostics.calibrate(
        model,
        lambda model, data: pyro.infer.autoguide.AutoNormal(model),
        num_simulations=2,
        num_samples=5,
        progress=False,
    )
    assert list(found.ranks) == ["theta[0]", "theta[1]", "theta[2]"]


def test_discrete_values_tie_at_random():
    def model():
        pyro.sample("k", dist.Bernoulli(0.5))

    found = pf.diagnostics.calibrate(
        model,
        lambda m, d: {"k": dist.Bernoulli(0.5).sample((49,))},
        num_simulations=300,
        progress=False,
        num_samples=49,
    )
    assert found.verdicts() == {"k": "calibrated"}


def test_a_scaled_likelihood_is_told_of():
    """Data of unit variance, counted four times: the exact posterior is too narrow."""

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.poutine.scale(scale=4.0):
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))

    def exact(model, data):
        return {"x": dist.Normal(0.8 * data["y"], 0.2**0.5).sample((49,))}

    with pytest.warns(UserWarning, match=r"^y: under pyro\.poutine\.scale"):
        found = pf.diagnostics.calibrate(model, exact, num_simulations=150, num_samples=49, progress=False)
    assert found.verdicts() == {"x": "too narrow"}


def test_p_values_are_uniform_under_uniformity():
    ranks = torch.randint(0, 100, (300, 80))
    p = torch.tensor([uniformity_p_value(row, 99) for row in ranks])
    for level in (0.05, 0.2, 0.5):
        assert float((p <= level).double().mean()) == pytest.approx(
            level, abs=4 * math.sqrt(level * (1 - level) / 300)
        )
    p = torch.tensor([symmetry_p_value(row, 99) for row in ranks[:100]])
    assert float((p <= 0.2).double().mean()) == pytest.approx(0.2, abs=0.15)


def test_the_band_holds_its_share():
    z, low, high = ecdf_band(80, 19, level=0.9)
    sets = torch.randint(0, 20, (2000, 80))
    points = (z * 20).round()
    below = (sets[:, None, :] < points[:, None]).double().mean(-1) - z
    inside = ((below >= low - 1e-9) & (below <= high + 1e-9)).all(-1)
    assert float(inside.double().mean()) == pytest.approx(0.9, abs=0.03)


def test_what_cannot_be_ranked_is_refused():
    def run(posterior, model=conjugate, **options):
        return pf.diagnostics.calibrate(model, posterior, progress=False, **options)

    with pytest.raises(ValueError, match="expected num_simulations ≥ 2; got 1"):
        run(answer(), num_simulations=1)
    with pytest.raises(ValueError, match=r"expected ≥ 99 draws of 'x', \(2,\) each; got shape \(50, 2\)"):
        run(answer(draws=50))
    with pytest.raises(ValueError, match="expected draws of 'x' that can be ranked; got NaN"):
        run(lambda model, data: {"x": torch.full((99, 2), math.nan)})
    with pytest.raises(ValueError, match="got none"):
        run(lambda model, data: {})
    with pytest.raises(
        TypeError,
        match="expected posterior to return a guide, a result of importance or a dictionary; got int",
    ):
        run(lambda model, data: 3)
    with pytest.raises(ValueError, match="got the factor 'f'"):
        run(answer(), model=lambda: pyro.factor("f", torch.tensor(1.0)))

    def subsampled():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 10, subsample_size=5):
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(5))

    def subsampled_one_by_one():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        for i in pyro.plate("row", 10, subsample_size=5):
            pyro.sample(f"y_{i}", dist.Normal(x, 1.0), obs=torch.tensor(0.0))

    for model in (subsampled, subsampled_one_by_one):
        with pytest.raises(
            ValueError, match=r"expected the model over all data, .* got 5 of 10 in plate 'row'"
        ):
            run(answer(), model=model)
    for test in (uniformity_p_value, symmetry_p_value):
        with pytest.raises(ValueError, match="expected ranks in 0 … 9; got 10 … 10"):
            test(torch.tensor([10]), 9)
        with pytest.raises(ValueError, match=r"expected ranks of shape \(n,\), n ≥ 1; got shape \(2, 1\)"):
            test(torch.zeros(2, 1), 9)


def test_the_picture_shows_every_quantity_and_the_band():
    found = pf.diagnostics.calibrate(conjugate, answer(0.8), num_simulations=100, progress=False)
    figure = pf.plotting.calibration(found)
    assert [ax.get_title() for ax in figure.axes] == ["x[0]: too high", "x[1]: too high"]
    ax = figure.axes[0]
    assert ax.get_xlabel() == "rank ÷ draws"
    assert ax.get_ylabel() == "share below − rank ÷ draws"
    line = ax.lines[-1].get_ydata()
    assert max(abs(line)) > 0.1
    assert len(pf.plotting.calibration(found, names=["x[1]"]).axes) == 1
    with pytest.raises(ValueError, match="expected quantities of"):
        pf.plotting.calibration(found, names=["z"])
