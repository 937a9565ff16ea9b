import copy
import math
import pickle
from inspect import signature

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.training.data.moments import location_and_scale, needs_double


def rows(count, width=2, seed=5):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


DATA = rows(200)
CONTEXT = rows(200, 3, seed=6)


def small(dim=2, **options):
    torch.manual_seed(1)
    options = {"depth": 2, "hidden": (8,)} | options
    return pf.Flow(pf.real_nvp(dim, **options))


def fit(flow, data, **options):
    options = {"epochs": 1, "batch_size": 32, "progress": False} | options
    return pf.fit(flow, data, **options)


def score(flow, data, context=None):
    with torch.no_grad():
        return flow(context).log_prob(data).double()


SCALE, SHIFT = torch.tensor([20.0, 1e-3]), torch.tensor([3000.0, -1.0])


def test_raw_rows_are_fitted_as_standardised_ones():
    raw, plain = small(), small()
    data = DATA * SCALE + SHIFT
    loc, scale = location_and_scale(DATA)
    wanted = fit(plain, (DATA - loc.float()) / scale.float(), units=False, epochs=3)
    found = fit(raw, data, epochs=3)
    jacobian = float((SCALE * scale).log().sum())
    assert found.best_loss == pytest.approx(wanted.best_loss + jacobian, abs=0.05)
    samples = raw().sample((2000,))
    torch.testing.assert_close(samples.mean(0), data.mean(0), rtol=0.1, atol=1e-3)
    torch.testing.assert_close(samples.std(0), data.std(0), rtol=0.1, atol=1e-4)


def test_a_context_is_seen_whatever_its_units():
    t = rows(1000, seed=7)
    data = t[:, :1] + 0.1 * rows(1000, seed=8)
    shift, scale = torch.tensor([2000.0, -5e6]), torch.tensor([1.0, 1e6])
    losses = []
    for context in (t, t * scale + shift):
        torch.manual_seed(1)
        flow = pf.Flow(pf.maf(2, depth=2, hidden=(16,), context_dim=2))
        losses.append(fit(flow, data, context=context, epochs=8, learning_rate=1e-2).best_loss)
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.1))
    assert losses[0] < entropy + 0.3
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_seconds_since_1970_keep_their_digits():
    seconds = 1.7e9 + 600 * torch.rand(1000, 1, dtype=torch.float64)
    data = torch.cat([seconds, rows(1000, 1).double()], 1)
    flow = pf.Flow(pf.nsf(2, depth=2, hidden=(16,)))
    history = fit(flow, data, epochs=8, learning_rate=1e-2)
    truth = math.log(600) + 0.5 * math.log(2 * math.pi * math.e)
    assert history.best_loss == pytest.approx(truth, abs=0.2)
    assert -score(flow, data).mean() == pytest.approx(truth, abs=0.2)
    samples = flow().sample((1000,))
    assert samples.dtype == torch.float64
    assert len(samples[:, 0].unique()) == 1000
    inside = (samples[:, 0] > 1.7e9 - 30) & (samples[:, 0] < 1.7e9 + 630)
    assert inside.double().mean() > 0.95


@pytest.mark.parametrize("kind", ["dataset", "loader", "whole"])
def test_a_data_set_keeps_its_doubles(kind):
    data = 1.7e9 + rows(1000).double()
    data = (1e6 * data).long() if kind == "whole" else data
    context = 1.7e9 + rows(1000, 3, seed=8).double()
    given = TensorDataset(data, context)
    one, two = small(context_dim=3), small(context_dim=3)
    wanted = fit(one, data, context=context, validation=(data, context))
    found = fit(two, DataLoader(given) if kind == "loader" else given, validation=given)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert found.val_loss == wanted.val_loss
    assert bool(two.units.needs_double & two.context_units.needs_double)
    for flow in (one, two):
        assert flow(context).sample().unique(dim=0).shape == (1000, 2)


def bounded():
    torch.manual_seed(1)
    learned = dist.transforms.AffineTransform(nn.Parameter(torch.zeros(2)), 1.0)
    parts = [pf.nice(2, hidden=(8,), context_dim=1), dist.transforms.SigmoidTransform(), learned]
    return pf.Flow(parts)


@pytest.mark.parametrize(
    "wrap", [lambda x, c: {"data": x, "context": c}, lambda x, c: {"data": TensorDataset(x, c)}]
)
def test_contexts_keep_their_doubles_beside_bounded_layers_that_learn(wrap):
    flow, context = bounded(), 1.7e9 + rows(200, 1).double()
    data = torch.rand(200, 2).mul(0.8).add(0.1)
    fit(flow, **wrap(data, context))
    assert flow.units is None
    assert bool(flow.context_units.needs_double)
    torch.testing.assert_close(score(flow, data.double(), context), score(flow, data, context))


def test_double_data_that_single_precision_holds_give_the_bits_of_single():
    one, two = small(), small()
    fit(one, DATA)
    fit(two, DATA.double())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert two().sample().dtype == torch.float32


def test_absurd_cells_leave_the_other_rows_alone():
    data = rows(2000)
    bad = data.clone()
    for column, start in ((0, 0), (1, 250)):
        bad[start::500, column] = 1e12
    plain, troubled = small(), small()
    fit(plain, data, epochs=4, validation=data)
    with pytest.warns(UserWarning, match="8 of 2000 rows of the data are left out, the first is row 0:"):
        fit(troubled, bad, epochs=4, validation=data)
    assert score(troubled, data).mean() > score(plain, data).mean() - 0.05


def test_the_row_that_is_left_out_is_the_users_own():
    data = DATA.clone()
    data[123, 1] = -1e30
    with pytest.warns(
        UserWarning, match="1 of 200 rows of the data are left out, the first is row 123:"
    ) as seen:
        fit(small(), data, validation=0)
    assert seen[0].filename == __file__


@pytest.mark.parametrize("validation", [0, 0.1, "own"])
def test_rows_on_the_border_of_the_support_are_refused(validation):
    """They were left out, as rows whose logarithm is more than a thousand deviations from the others."""
    data = (DATA * 0.01 + 5).exp()
    data[[123, 150], 1] = 0.0
    given = {"validation": validation}
    if validation == "own":
        given, data = {"validation": data}, (DATA + 5).exp()
    name = "validation data" if validation == "own" else "data"
    with pytest.raises(
        ValueError, match=rf"expected {name} within the support .*; got others in \d of \d+ rows"
    ):
        fit(positive(), data, **given)
    if validation == 0:
        with pytest.raises(ValueError, match=r"in 2 of 200 rows, the first is row (123|150)"):
            fit(positive(), data, **given)
        history = fit(
            positive(), data, loss=lambda flow, x, c: -flow().log_prob(x + 1.0), units=False, **given
        )
        assert math.isfinite(history.train_loss[-1])
    images = whole(100, 1, 4, 4)
    images[7, 0, 0, 0] = 256
    with pytest.raises(
        ValueError, match=r"within the support .*; got others in 1 of 100 rows, the first is row 7"
    ):
        fit(pixels(), images, batch_size=50, validation=whole(50, 1, 4, 4))


def test_rows_far_from_an_earlier_fit_need_new_units():
    flow = small()
    fit(flow, DATA)
    mixed = torch.cat([DATA, DATA * 1e5])
    with pytest.warns(
        UserWarning, match=r"the data of an earlier fit, .* units=\"new\" gives it new ones"
    ) as seen:
        fit(flow, mixed, validation=0)
    assert "rows of the data are left out, the first is row" in str(seen[0].message)
    with pytest.warns(UserWarning, match='all 200 rows of the data have a cell more than .* units="new"'):
        fit(flow, DATA + 1e6, validation=0)
    assert fit(flow, DATA + 1e6, units="new").best_loss < 5


def test_moments_are_those_of_the_cells_that_are_not_far_off():
    column = rows(1000, 1).double()
    data = torch.cat([column, column.exp(), torch.full_like(column, 7.0), (column > 2).double()], 1)
    loc, scale = location_and_scale(data)
    torch.testing.assert_close(loc, data.mean(0), rtol=0.05, atol=0.01)
    torch.testing.assert_close(scale[[0, 1, 3]], data.std(0)[[0, 1, 3]], rtol=0.1, atol=0.0)
    assert scale[2] == 1
    data[::500] = 1e12
    again = location_and_scale(data)
    torch.testing.assert_close(again[0][:2], loc[:2], rtol=0.02, atol=0.01)
    torch.testing.assert_close(again[1][:2], scale[:2], rtol=0.02, atol=0.0)


@pytest.mark.parametrize("share", [0.004, 0.05, 0.3])
def test_a_rare_level_is_no_error(share):
    """A flag with noise: its rarer level was not counted, and lay 60 scales from the other one."""
    level = (torch.arange(4000) < share * 4000).double()
    noise = 0.05 * torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    column = (3 * level + noise)[:, None]
    loc, scale = location_and_scale(column)
    torch.testing.assert_close(loc, column.mean(0))
    torch.testing.assert_close(scale, column.std(0, correction=0))


def test_a_few_far_cells_do_not_count():
    column = rows(4000, 1).double()
    loc, scale = location_and_scale(column)
    column[::500] = 500.0
    again = location_and_scale(column)
    torch.testing.assert_close(again, (loc, scale), rtol=0.02, atol=0.01)


def test_what_needs_double_precision():
    column = rows(100, 1).double()
    assert needs_double(column + 1e4)
    assert not needs_double(column + 100)
    assert not needs_double((column + 1e4).float())
    assert needs_double(torch.arange(100) + 10**9)


def positive():
    return pf.Flow([pf.real_nvp(2, hidden=(8,)), dist.transforms.ExpTransform()])


def pixels():
    parts = [pf.real_nvp_image((1, 4, 4), blocks=0, width=4), tr.LogitPixels(), tr.Dequantize()]
    return pf.Flow(parts)


def sequences():
    return pf.Flow([pf.nice(6), tr.Reshape((6,), (3, 2))])


def whole(*shape):
    return torch.randint(100, 200, shape, generator=torch.Generator().manual_seed(3))


def nested():
    return pf.Flow(pf.Chain([pf.Chain([pf.nice(2), dist.transforms.ExpTransform()])]))


ENDS = {
    "positive": (positive, (DATA * 0.01 + 5).exp()),
    "image": (lambda: pf.Flow(pf.glow((2, 4, 4), depth=1, width=4)), rows(200, 32).view(200, 2, 4, 4) + 1e3),
    "sequence": (sequences, rows(200, 6).reshape(200, 3, 2) * 0.01 - 30),
    "standardised": (lambda: pf.Flow([pf.nice(2), tr.Standardize.of(DATA * 9 + 500)]), DATA * 9 + 500),
    "nested": (nested, (DATA + 9).exp()),
}


@pytest.mark.parametrize(("make", "data"), ENDS.values(), ids=ENDS)
def test_units_stand_next_to_what_learns_whatever_follows(make, data):
    flow = make()
    before = flow.given_transform
    fit(flow, data)
    x = flow.transform.inv(data)
    assert bool(x.isfinite().all())
    inner = [part for part in flow.transform if isinstance(part, tr.Units)]
    assert len(inner) == 1
    assert flow.given_transform is before
    z = data
    for part in reversed(list(flow.transform)):
        z = part.inv(z)
        if part is flow.units:
            break
    over = (0, 2, 3) if z.dim() == 4 else 0
    assert bool((z.mean(over).abs() < 0.3).all())
    assert bool(((z.std(over) - 1).abs() < 0.3).all())
    samples = flow().sample((500,))
    assert samples.shape[1:] == data.shape[1:]
    assert bool((samples.isfinite()).all())


def test_whole_numbers_have_units_in_logits():
    flow = pixels()
    fit(flow, whole(100, 1, 4, 4), batch_size=50)
    assert flow.units.active
    samples = flow().sample((50,))
    assert bool((samples == samples.round()).all())
    assert bool(flow().log_prob(whole(5, 1, 4, 4)).isfinite().all())


def test_bounded_layers_that_learn_get_no_units():
    learned = dist.transforms.AffineTransform(nn.Parameter(torch.zeros(2)), 1.0)
    flow = pf.Flow([pf.nice(2), dist.transforms.SigmoidTransform(), learned])
    assert flow.units is None
    flow = pf.Flow([pf.nice(2), dist.transforms.SigmoidTransform()])
    assert flow.units is not None


def test_a_state_loads_into_a_new_flow_of_the_same_kind():
    flow = small(context_dim=3)
    names = set(flow.state_dict())
    fit(flow, DATA * 20 + 3000, context=CONTEXT + 2000)
    assert set(flow.state_dict()) == names
    new = small(context_dim=3)
    new.load_state_dict(flow.state_dict())
    y, c = DATA * 20 + 3000, CONTEXT + 2000
    assert torch.equal(score(new, y, c), score(flow, y, c))
    history = fit(new, y, context=c)  # keeps its units, and goes on from the weights it has
    assert torch.equal(new.units.loc, flow.units.loc)
    assert history.train_loss[0] < 10


def test_a_state_from_before_there_were_units_loads():
    old = {name: value for name, value in small().state_dict().items() if not name.startswith("units")}
    flow = small()
    fit(flow, DATA * 20)
    flow.load_state_dict(old)
    assert torch.equal(score(flow, DATA), score(small(), DATA))
    assert not flow.units.fitted


def test_a_fitted_flow_keeps_its_units_unless_told_otherwise():
    flow = small()
    fit(flow, DATA)
    kept = flow.units.loc.clone()
    fit(flow, DATA + 50)
    assert torch.equal(flow.units.loc, kept)
    fit(flow, DATA + 50, units="new")
    torch.testing.assert_close(flow.units.loc, kept + 50, rtol=0, atol=1.0)
    flow = small()
    fit(flow, DATA, units=False)
    fit(flow, DATA + 50)
    assert not flow.units.active
    with pytest.raises(ValueError, match="expected units to be True, False or"):
        fit(small(), DATA, units="none")


@pytest.fixture(scope="module")
def fitted():
    flow = small(context_dim=3)
    fit(flow, DATA * 20 + 3000, context=CONTEXT + 2000)
    return flow


def test_a_fitted_transform_is_an_ordinary_one(fitted):
    y, context = DATA * 20 + 3000, CONTEXT + 2000
    wanted = score(fitted, y, context)
    bound = fitted.transform.condition(context)
    pyros = dist.TransformedDistribution(fitted.base(), [bound])
    torch.testing.assert_close(pyros.log_prob(y).double(), wanted, rtol=0, atol=1e-5)
    for same in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted)), pf.Flow(fitted.transform)):
        assert torch.equal(score(same, y, context), wanted)
    assert torch.equal(score(fitted.tempered(1.0), y, context), wanted)
    noise = torch.randn(200, 2)
    back, log_det = bound.inverse_and_log_det(bound.forward_and_log_det(noise)[0])
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-3)
    assert log_det.shape == (200,)
    doubled = copy.deepcopy(fitted).double()
    torch.testing.assert_close(score(doubled, y.double(), context.double()), wanted, rtol=0, atol=1e-3)
    assert torch.equal(score(copy.deepcopy(doubled).float(), y, context), wanted)


def test_saving_memory_reaches_the_fitted_chain(fitted):
    flow = copy.deepcopy(fitted)
    y, context = DATA * 20 + 3000, CONTEXT + 2000
    grads = []
    for memory in ("plain", "checkpointed", "reversible"):
        pf.save_memory(flow, memory)
        assert flow.transform.memory == memory
        flow.zero_grad()
        flow(context).log_prob(y).mean().backward()
        grads.append(torch.cat([p.grad.flatten() for p in flow.parameters()]))
    torch.testing.assert_close(grads[1], grads[0])
    torch.testing.assert_close(grads[2], grads[0], rtol=1e-3, atol=1e-5)


def test_compiled_scoring_of_a_fitted_flow(fitted):
    flow = copy.deepcopy(fitted)
    y, context = DATA * 20 + 3000, CONTEXT + 2000
    run = torch.compile(lambda y, c: flow(c).log_prob(y), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(y, context), flow(context).log_prob(y))


def test_statistics_of_a_fitted_flow_are_in_its_units():
    flow = pf.Flow([pf.nice(2), tr.BatchNorm(2)])
    data = DATA * 20 + 3000
    fit(flow, data)
    torch.testing.assert_close(flow.given_transform[1].moments.mean, torch.zeros(2), rtol=0, atol=0.2)
    wanted = score(flow, data)
    pf.update_statistics(flow, data)
    assert abs((score(flow, data) - wanted).mean()) < 0.1


def test_images_have_one_unit_a_channel():
    flow = pf.Flow(pf.glow((2, 4, 4), depth=1, width=4))
    assert flow.units.loc.shape == (2, 1, 1)
    z = torch.randn(5, 2, 4, 4)
    flow.units.place(torch.tensor([1.0, 2.0])[:, None, None], torch.tensor([3.0, 4.0])[:, None, None])
    _, log_det = flow.units.inverse_and_log_det(z)
    torch.testing.assert_close(log_det, torch.full((5,), -16 * math.log(12.0)))


def test_a_scalar_event():
    base = dist.Normal(torch.zeros(()), torch.ones(()))
    flow = pf.Flow([dist.transforms.Spline(1)], dist.Normal(torch.zeros(1), 1.0).to_event(1))
    assert flow.units.event_shape == (1,)
    learned = nn.Parameter(torch.zeros(()))
    flow = pf.Flow([dist.transforms.AffineTransform(learned, 1.0), dist.transforms.ExpTransform()], base)
    assert flow.units.event_shape == ()


@pytest.mark.parametrize("family", ["real_nvp", pytest.param("nsf", marks=pytest.mark.slow)])
def test_wine_as_it_comes_is_wine_standardised(family):
    datasets = pytest.importorskip("sklearn.datasets")
    wine = torch.tensor(datasets.load_wine().data)  # columns from 0.1 to 1,680
    loc, scale = location_and_scale(wine)
    options = {"epochs": 20, "validation": 0, "batch_size": 64}
    torch.manual_seed(1)
    raw = pf.Flow(getattr(pf, family)(13))
    plain = copy.deepcopy(raw)
    found = fit(raw, wine, **options).train_loss[-1]
    wanted = fit(plain, (wine - loc) / scale, units=False, **options).train_loss[-1]
    assert found == pytest.approx(wanted + float(scale.log().sum()), abs=0.1)


FAMILIES = ("real_nvp", "nsf", "maf", "naf", "nice", "iaf", "planar", "radial", "residual", "ffjord")
KINDS = ("table", "context", "sequence")
FAST = {("maf", "context"), ("nice", "sequence"), ("radial", "table")}


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, marks=() if (family, kind) in FAST else pytest.mark.slow)
        for family in FAMILIES
        for kind in KINDS
        if kind != "context" or "context_dim" in signature(getattr(pf, family)).parameters
    ],
)
def test_raw_units_fit_as_well_as_standardised_ones(family, kind):
    z = rows(500, 4)
    z = torch.stack([z[:, 0], z[:, 0] + 0.3 * z[:, 1], z[:, 1] * z[:, 2], z[:, 3].exp()], 1)
    z = (z - z.mean(0)) / z.std(0)
    scale, shift = torch.tensor([1e3, 1.0, 1e-3, 50.0]), torch.tensor([-1e4, 0.0, 7.0, 3000.0])
    torch.manual_seed(1)
    made = getattr(pf, family)(4, **({"context_dim": 2} if kind == "context" else {}))
    plain = pf.Flow([made, tr.Reshape((4,), (2, 2))] if kind == "sequence" else made)
    raw = copy.deepcopy(plain)
    given, context = {}, rows(500, seed=9)
    if kind == "context":
        given = {"context": context * torch.tensor([1e6, 1e-3]) + torch.tensor([1e6, 1.0])}
    shape = (500, 2, 2) if kind == "sequence" else (500, 4)
    options = {"epochs": 4, "validation": 0}
    found = fit(raw, (z * scale + shift).reshape(shape), **given, **options).train_loss[-1]
    if kind == "context":
        given = {"context": context}
    wanted = fit(plain, z.reshape(shape), units=False, **given, **options).train_loss[-1]
    assert found == pytest.approx(wanted + float(scale.log().sum()), abs=0.1)
