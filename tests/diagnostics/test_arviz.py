"""Guides and flows in ArviZ, in both its containers."""

import math
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf

from ..helpers.schools import SIGMA, Y

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
except ImportError:
    arviz = pytest.importorskip("arviz_base", reason="the containers are ArviZ's")

try:
    OLD = version("arviz").startswith("0.")  # 1.3 has the name InferenceData again
except PackageNotFoundError:
    OLD = False


@pytest.fixture(params=["InferenceData", "DataTree"])
def container(request, monkeypatch):
    """Run with ArviZ 0.x and with what 1.0 reads, as far as they are installed."""
    if request.param == "InferenceData":
        if not OLD:
            pytest.skip("ArviZ 1.0 or later is installed: no InferenceData")
        return arviz.InferenceData
    pytest.importorskip("arviz_base", reason="what reads a DataTree")
    if OLD:
        monkeypatch.setitem(sys.modules, "arviz", None)
    return pytest.importorskip("xarray").DataTree


def schools(y, sigma, scale=5.0):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(scale))
    with pyro.plate("school", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.deterministic("effect", theta - mu)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def weighed(model, guide, *args, num_samples=60, **kwargs):
    return pf.infer.importance(model, guide, *args, num_samples=num_samples, **kwargs)


def dims(group):
    return {name: tuple(variable.dims) for name, variable in group.data_vars.items()}


SAMPLE = ("chain", "draw")


def test_every_group_with_plates_as_dimensions(container):
    names = list("ABCDEFGH")
    results = [weighed(schools, kind(schools), Y, SIGMA) for kind in (AutoNormal, AutoMultivariateNormal)]
    idata = pf.diagnostics.to_arviz(results, coords={"school": names})
    assert isinstance(idata, container)
    per_school = (*SAMPLE, "school")
    assert dims(idata["posterior"]) == {
        "mu": SAMPLE,
        "tau": SAMPLE,
        "theta": per_school,
        "effect": per_school,
    }
    assert dims(idata["posterior_predictive"]) == dims(idata["log_likelihood"]) == {"y": per_school}
    assert dims(idata["log_prior"]) == {"mu": SAMPLE, "tau": SAMPLE, "theta": per_school}
    assert dims(idata["sample_stats"]) == dict.fromkeys(["lp", "log_q", "log_weight"], SAMPLE)
    assert dims(idata["observed_data"]) == {"y": ("school",)}
    assert dims(idata["constant_data"]) == {"sigma": ("school",)}
    assert idata["posterior"]["theta"].shape == (2, 60, 8)
    assert list(idata["posterior"]["school"].values) == names
    assert idata["observed_data"]["y"].sel(school="C") == -3
    stats = idata["sample_stats"]
    assert abs(stats["lp"] - stats["log_q"] - stats["log_weight"]).max() < 1e-5
    total = sum(
        idata["log_prior"].data_vars[name].sum(set(d) - {*SAMPLE})
        for name, d in dims(idata["log_prior"]).items()
    )
    total = total + idata["log_likelihood"]["y"].sum("school")
    assert abs(total - stats["lp"]).max() < 1e-3
    theta, mu = (idata["posterior"][name] for name in ("theta", "mu"))
    assert abs(idata["posterior"]["effect"] - (theta - mu)).max() < 1e-4
    assert [len(idata.attrs[name]) for name in ("khat", "log_evidence", "elbo", "ess")] == [2] * 4


def test_arviz_summarises_and_compares_chains(container):
    def exact(y):
        pyro.sample("x", dist.Normal(y.sum() / 9, 1 / 3))

    idata = pf.diagnostics.to_arviz([weighed(location, exact, Y / 10, num_samples=400) for _ in range(2)])
    if container.__name__ == "InferenceData":
        r_hat, loo = arviz.rhat(idata), arviz.loo
    else:
        stats = pytest.importorskip("arviz_stats")
        r_hat, loo = stats.rhat(idata["posterior"]), stats.loo
    assert float(r_hat["x"]) < 1.02
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isfinite(float(getattr(loo(idata), "elpd_loo", None) or loo(idata).elpd))


def test_corrected_draws_have_no_weights_left(container):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    def guide():
        pyro.sample("x", dist.Normal(0.0, 1.0))

    idata = pf.diagnostics.to_arviz(weighed(model, guide, num_samples=5000), corrected=True)
    assert set(idata["sample_stats"].data_vars) == {"lp", "log_q"}
    x = idata["posterior"]["x"]
    assert float(x.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(x.std()) == pytest.approx(0.5**0.5, abs=0.03)
    assert abs(idata["log_prior"]["x"] + x**2 / 2 + math.log(2 * math.pi) / 2).max() < 1e-5


def test_event_dimensions_and_plates_that_are_not_a_sites_own(container):
    def model(y, flag, *, offset):
        with pyro.plate("group", 3, dim=-2):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("row", 5, dim=-1):
                loc = a.sum(-1, keepdim=True) + offset
                pyro.sample("y", dist.Normal(loc, torch.ones(4)).to_event(1), obs=y)
        pyro.factor("soft", -0.1 * a.square().sum((-1, -2, -3)))

    y = torch.randn(3, 5, 4)
    result = weighed(model, AutoNormal(model), y, True, num_samples=7, offset=0.5)
    assert result.evaluation.how.way == "vmap"  # the factor sums over everything
    idata = pf.diagnostics.to_arviz(result)
    assert dims(idata["posterior"]) == {"a": (*SAMPLE, "group", "a_dim_1")}
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "group", "row", "y_dim_2")}
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "group", "row"), "soft": SAMPLE}
    assert dims(idata["observed_data"]) == {"y": ("group", "row", "y_dim_2")}
    assert float(idata["constant_data"]["offset"]) == 0.5
    assert set(idata["constant_data"].data_vars) == {"offset"}


def test_density_flows(container):
    flows = [pf.Flow(pf.real_nvp(2)), pf.Flow(pf.real_nvp(2))]
    data = torch.randn(6, 2)
    idata = pf.diagnostics.density_to_arviz(flows, data, coords={"row": range(10, 16)}, num_samples=9)
    assert isinstance(idata, container)
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "row")}
    assert idata["log_likelihood"]["y"].shape == (2, 1, 6)
    expected = flows[1]().log_prob(data).detach()
    torch.testing.assert_close(torch.tensor(idata["log_likelihood"]["y"].values[1, 0]), expected)
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "y_dim_0")}
    assert list(idata["observed_data"]["row"].values) == list(range(10, 16))
    conditional = pf.Flow(pf.real_nvp(2, context_dim=3))
    idata = pf.diagnostics.density_to_arviz(conditional, data.numpy(), torch.randn(6, 3), num_samples=9)
    assert idata["posterior_predictive"]["y"].shape == (1, 9, 6, 2)
    assert dims(idata["constant_data"]) == {"context": ("row", "context_dim_0")}


def test_saves_and_loads(container, tmp_path):
    pytest.importorskip("h5py", reason="what ArviZ writes with")
    idata = pf.diagnostics.to_arviz(weighed(schools, AutoNormal(schools), Y, SIGMA, num_samples=5))
    idata.to_netcdf(tmp_path / "draws.nc")
    with pytest.importorskip("xarray").open_dataset(tmp_path / "draws.nc", group="posterior") as posterior:
        for name in idata["posterior"].data_vars:
            np.testing.assert_array_equal(posterior[name].values, idata["posterior"][name].values)


def test_names_that_are_not_there():
    result = weighed(schools, AutoNormal(schools), Y, SIGMA, num_samples=5)
    with pytest.raises(ValueError, match=r"expected coords of \[.*'school'\]; got \['schol'\]"):
        pf.diagnostics.to_arviz(result, coords={"schol": "AB"})
    with pytest.raises(ValueError, match=r"expected dims of \[.*'theta'.*\]; got \['thta'\]"):
        pf.diagnostics.to_arviz(result, dims={"thta": ["school"]})
    with pytest.raises(ValueError, match=r"expected 1 names of dimensions of 'theta'; got \['a', 'b'\]"):
        pf.diagnostics.to_arviz(result, dims={"theta": ["a", "b"]})
    with pytest.raises(
        TypeError, match=r"importance\(model, guide, ...\), or a list of them; got AutoNormal"
    ):
        pf.diagnostics.to_arviz(AutoNormal(schools))
    with pytest.raises(ValueError, match="or several; got none"):
        pf.diagnostics.to_arviz([])
    other = weighed(location, normal_guide, Y, num_samples=5)
    with pytest.raises(ValueError, match="expected fits of one model; got mu"):
        pf.diagnostics.to_arviz([result, other])


def location(y):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def normal_guide(*_):
    pyro.sample("x", dist.Normal(0.0, 1.0))


def test_draws_are_told_from_a_markov_chain(container):
    idata = pf.diagnostics.to_arviz(weighed(location, normal_guide, torch.zeros(3)))
    for attrs in (idata.attrs, idata["posterior"].attrs):
        assert attrs["inference_library"] == "pyro_flows"
        assert "not a Markov chain" in attrs["draws"]


def test_the_container_goes_by_arvizs_version(monkeypatch):
    """ArviZ 1.3 has the name InferenceData again, which takes other arguments and warns."""
    base = pytest.importorskip("arviz_base", reason="what reads a DataTree")
    from pyro_flows.diagnostics.arviz import container as module

    class Alias:
        def __getattr__(self, name):
            raise AssertionError(f"arviz.{name} was touched")

    monkeypatch.setattr(module, "version", lambda name: "1.3.0")
    monkeypatch.setitem(sys.modules, "arviz", Alias())
    idata = pf.diagnostics.to_arviz(weighed(location, normal_guide, torch.zeros(3)))
    assert type(idata).__name__ == "DataTree"
    assert base.convert_to_datatree(idata)["posterior"]["x"].size == 60


def test_dimensions_by_event_dims_and_by_the_caller(container):
    def model(y):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1), infer={"event_dims": ["feature"]})
        pyro.deterministic("double", 2 * w)
        with pyro.plate("row", 4):
            loc = w.sum(-1, keepdim=True)
            pyro.sample("y", dist.Normal(loc, torch.ones(4, 2)).to_event(1), obs=y)

    result = weighed(model, AutoNormal(model), torch.zeros(4, 2), num_samples=5)
    idata = pf.diagnostics.to_arviz(
        result, dims={"y": ["site", "axis"], "double": ["feature"]}, coords={"feature": list("abc")}
    )
    assert dims(idata["posterior"]) == dict.fromkeys(["w", "double"], (*SAMPLE, "feature"))
    assert list(idata["posterior"]["feature"].values) == list("abc")
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "site")}
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "site", "axis")}
    assert dims(idata["observed_data"]) == {"y": ("site", "axis")}


def masked(y, mask):
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)), pyro.poutine.mask(mask=mask):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def test_masked_observations_are_left_out(container):
    mask = torch.tensor([True, False, True, True, False])
    y = torch.arange(5.0)
    result = weighed(masked, normal_guide, y, mask)
    idata = pf.diagnostics.to_arviz(result, coords={"row": list("abcde")})
    for group, lead in (("log_likelihood", SAMPLE), ("posterior_predictive", SAMPLE), ("observed_data", ())):
        assert dims(idata[group]) == {"y": (*lead, "y_observed")}
        assert list(idata[group]["y_observed"].values) == ["a", "c", "d"]
    np.testing.assert_array_equal(idata["observed_data"]["y"].values, [0.0, 2.0, 3.0])
    np.testing.assert_allclose(
        idata["log_likelihood"]["y"].values[0], result.evaluation.log_likelihood["y"][:, mask]
    )
    assert dims(idata["constant_data"]) == {"mask": ("row",)}


def test_masked_observations_of_two_plates(container):
    mask = torch.tensor([[True, True, False], [True, False, False]])

    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("sequence", 2, dim=-2), pyro.plate("time", 3, dim=-1):
            law = dist.Normal(x[..., None], torch.ones(2)).to_event(1)
            pyro.sample("y", law.mask(mask), obs=torch.arange(12.0).reshape(2, 3, 2))

    idata = pf.diagnostics.to_arviz(weighed(model, normal_guide), coords={"time": [10, 20, 30]})
    assert dims(idata["log_likelihood"]) == {"y": (*SAMPLE, "y_observed")}
    assert dims(idata["posterior_predictive"]) == {"y": (*SAMPLE, "y_observed", "y_dim_2")}
    assert list(idata["observed_data"]["y_observed"].values) == ["0, 10", "0, 20", "1, 10"]
    np.testing.assert_array_equal(idata["observed_data"]["y"].values, [[0, 1], [2, 3], [6, 7]])


def test_names_that_are_arvizs_own():
    def sites():
        x = pyro.sample("chain", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(ValueError, match=r"expected names that no dimension in ArviZ has; .* called 'chain'"):
        pf.diagnostics.to_arviz(weighed(sites, AutoNormal(sites)))
    with pytest.raises(ValueError, match="called 'row'"):
        pf.diagnostics.density_to_arviz(pf.Flow(pf.real_nvp(2)), torch.randn(5, 2), name="row")

    def plates():
        with pyro.plate("draw", 3):
            x = pyro.sample("x", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3))

    result = weighed(plates, AutoNormal(plates))
    with pytest.raises(
        ValueError, match="dimensions of 'x' that differ; got chain, draw, draw: name them by"
    ):
        pf.diagnostics.to_arviz(result)
    found = pf.diagnostics.to_arviz(result, dims={"x": ["lottery"], "y": ["lottery"]})
    assert dims(found["posterior"]) == {"x": (*SAMPLE, "lottery")}


def test_arguments_called_as_a_plate(container):
    def model(y, n, group):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("n", n):
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        with pyro.plate("group", len(group)):
            pyro.sample("z", dist.Normal(x, group), obs=torch.zeros(2))

    result = weighed(model, normal_guide, torch.arange(3.0), 3, torch.ones(2))
    constants = pf.diagnostics.to_arviz(result)["constant_data"]
    assert dims(constants) == {"n_argument": (), "group_argument": ("group",)}
    assert int(constants["n_argument"]) == 3


def test_scaled_likelihoods_are_told_of():
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 3), pyro.poutine.scale(scale=2.0):
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3))

    with pytest.warns(
        UserWarning, match=r"multiplied by pyro\.poutine\.scale, .*: y\. pyro_flows.diagnostics.loo"
    ):
        found = pf.diagnostics.to_arviz(weighed(model, normal_guide))
    total = found["log_prior"]["x"] + found["log_likelihood"]["y"].sum("row")
    assert abs(total - found["sample_stats"]["lp"]).max() < 1e-4


def test_without_arviz(monkeypatch):
    for name in ("arviz", "arviz_base"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'pyro-flows\[arviz\]'"):
        pf.diagnostics.density_to_arviz(pf.Flow(pf.real_nvp(2)), torch.randn(5, 2))
