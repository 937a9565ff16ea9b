import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import pyro_flows as pf
from pyro_flows.training import NonFiniteLoss


def small(dim=2, **options):
    torch.manual_seed(1)
    options = {"depth": 2, "hidden": (8,)} | options
    return pf.Flow(pf.real_nvp(dim, **options))


def fit(flow, data, **options):
    options = {"epochs": 3, "batch_size": 32, "progress": False} | options
    return pf.fit(flow, data, **options)


def bits(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class Rows(Dataset):
    """A map-style data set that gives whatever `row` makes of an index."""

    def __init__(self, row, length=200):
        self.row, self.length = row, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.row(index)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


DATA = torch.randn(200, 2, generator=torch.Generator().manual_seed(5)) * 2 + 1
CONTEXT = torch.randn(200, 3, generator=torch.Generator().manual_seed(6))

SOURCES = {
    "array": DATA.numpy(),
    "float64-array": DATA.double().numpy(),
    "list": DATA.tolist(),
    "strided": DATA.numpy()[:, ::-1].copy()[:, ::-1],
    "dataset": Rows(lambda i: DATA[i]),
    "dataset-of-ones": TensorDataset(DATA),
    "dataset-of-arrays": Rows(lambda i: DATA[i].double().numpy()),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_bits_of_a_tensor(source):
    one, two = small(), small()
    fit(one, DATA)
    fit(two, source)
    assert same(bits(one), bits(two))


def test_pairs_give_the_bits_of_data_and_context():
    one, two, other = (small(context_dim=3) for _ in range(3))
    history = fit(one, DATA, context=CONTEXT)
    fit(two, TensorDataset(DATA, CONTEXT.double()))
    fit(other, DATA, context=CONTEXT.flip(0))
    assert len(history.val_loss) == 3
    assert same(bits(one), bits(two))
    assert not same(bits(one), bits(other))


def test_a_fit_reaches_the_entropy_of_a_gaussian():
    data = torch.randn(2000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]) * 3 + 2
    flow = pf.Flow([pf.real_nvp(2, depth=4, hidden=(16,)), pf.transforms.Standardize.of(data)])
    history = fit(flow, data, epochs=15, batch_size=100, learning_rate=5e-3)
    entropy = 0.5 * torch.logdet(2 * torch.pi * torch.e * torch.cov(data.T))
    assert abs(history.best_loss - entropy) < 0.15
    assert not flow.training


def test_a_fraction_is_held_out():
    flow, seen = small(), []
    data = torch.arange(200.0)[:, None].repeat(1, 2) / 100
    rows = Rows(lambda i: (seen.append(i), data[i])[1])
    history = fit(flow, rows, validation=0.25, epochs=2, batch_size=150, units=False)
    held_out = seen[150:200]
    assert len(set(seen[:150])) == 150
    assert not set(seen[:150]) & set(held_out)
    assert seen[200:350] != seen[:150]
    assert set(seen[200:350]) == set(seen[:150])
    assert len(history.val_loss) == len(history.train_loss) == 2


@pytest.mark.parametrize(
    "wrap", [lambda x: x, TensorDataset, lambda x: x.numpy()], ids=["tensor", "dataset", "array"]
)
def test_validation_data_of_ones_own(wrap):
    flow, held_out = small(), DATA[:50] + 0.1
    history = fit(flow, DATA, validation=wrap(held_out))
    assert history.steps == 3 * (200 // 32)
    with torch.no_grad():
        assert -flow().log_prob(held_out).mean() == pytest.approx(history.best_loss, abs=1e-6)


def test_validation_pairs():
    flow = small(context_dim=3)
    history = fit(flow, DATA, context=CONTEXT, validation=(DATA[:50], CONTEXT[:50]))
    with torch.no_grad():
        loss = -flow(CONTEXT[:50]).log_prob(DATA[:50]).mean()
    assert loss == pytest.approx(history.best_loss, abs=1e-6)


def test_without_validation_the_last_weights_stay():
    flow = small()
    history = fit(flow, DATA, validation=0)
    assert history.val_loss == []
    assert history.best_epoch == 0
    assert history.best_loss == float("inf")
    assert history.steps == 3 * (200 // 32)
    assert not flow.training


def test_a_loss_of_ones_own(tmp_path):
    data = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) + 0.5

    def raised(flow, x, context):
        return -flow(context).log_prob(x) + 3.0

    one, two = small(), small()
    history, shifted = fit(one, data), fit(two, data, loss=raised, checkpoint=tmp_path / "run")
    assert same(bits(one), bits(two))
    for name in ("train_loss", "val_loss"):
        difference = np.subtract(getattr(shifted, name), getattr(history, name))
        np.testing.assert_allclose(difference, 3.0, rtol=1e-5)
    with pytest.raises(ValueError, match=r"of another run: expected loss .*raised"):
        fit(small(), data, checkpoint=tmp_path / "run")


def test_early_stopping_restores_the_best_weights():
    flow, held_out = small(hidden=(64, 64)), torch.randn(40, 2) * 2 + 1
    history = fit(
        flow, DATA[:40], validation=held_out, epochs=200, batch_size=20, learning_rate=0.02, patience=4
    )
    assert len(history.val_loss) == history.best_epoch + 4 < 200
    assert history.best_loss == min(history.val_loss)
    with torch.no_grad():
        assert -flow().log_prob(held_out).mean() == pytest.approx(history.best_loss, abs=1e-6)


def test_the_best_weights_come_with_their_statistics():
    flow, held_out = small(norm=pf.transforms.BatchNorm), DATA[:50] + 0.1
    history = fit(flow, DATA, validation=held_out, epochs=5)
    with torch.no_grad():
        assert -flow().log_prob(held_out).mean() == pytest.approx(history.best_loss, abs=1e-6)


def test_the_schedule_multiplies_the_rate_of_every_step():
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 0.0

    flow = small()
    before = [p.detach().clone() for p in flow.parameters()]
    history = fit(flow, DATA, schedule=schedule, units=False)
    steps = [p for p, _ in itertools.groupby(seen) if p < 1]
    assert {round(p * history.steps) for p in steps} >= set(range(history.steps))
    assert all(torch.equal(p, old) for p, old in zip(flow.parameters(), before, strict=True))


def test_the_default_schedule_rises_and_falls():
    cosine = pf.training.Settings().schedule
    values = [cosine(i / 1000) for i in range(1001)]
    top = values.index(max(values))
    assert top in (20, 21)
    assert values == sorted(values[: top + 1]) + sorted(values[top + 1 :], reverse=True)
    assert values[0] > 0
    assert values[-1] == pytest.approx(0.01)


def test_clipping_bounds_the_gradient(monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def spy(self, *args):
        step(self, *args)
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(nn.utils.get_total_norm(grads)))

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    fit(small(), DATA * 8, clip=0.5, epochs=1, units=False)
    assert max(norms) < 0.5 * (1 + 1e-5)
    norms.clear()
    fit(small(), DATA * 8, clip=float("inf"), epochs=1, units=False)
    assert max(norms) > 10


def halves(flip):
    return pf.partitions.Mask(torch.tensor([flip, not flip]))


def drop(passive, outputs):
    return nn.Sequential(nn.Linear(passive, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, outputs))


def with_dropout():
    torch.manual_seed(1)
    couplings = [
        pf.transforms.Coupling(halves(flip), pf.elementwise.Affine(), drop(1, 2)) for flip in (False, True)
    ]
    return pf.Flow(couplings)


def test_a_seed_reproduces_every_bit():
    def noise():
        return torch.from_numpy(np.random.randn(2)) + random.random() + torch.randn(2)  # noqa: NPY002

    noisy = Rows(lambda i: DATA[i] + 0.1 * noise())
    flows = [with_dropout() for _ in range(3)]
    for flow, seed, global_seed in zip(flows, (3, 3, 4), (0, 1, 0), strict=True):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002
        random.seed(global_seed)
        fit(flow, noisy, seed=seed)
    assert same(bits(flows[0]), bits(flows[1]))
    assert not same(bits(flows[0]), bits(flows[2]))


def test_the_callers_generators_stay_as_they_were():
    def draw():
        return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002

    def start():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)

    flow = with_dropout()
    start()
    expected = draw(), draw()
    start()
    first = draw()
    fit(flow, DATA)
    assert (first, draw()) == expected


def test_bfloat16_runs_the_networks_and_keeps_the_log_dets():
    flow, kinds = small(hidden=(16,)), []
    net = flow.transform[0].conditioner
    net.last.register_forward_hook(lambda m, a, out: kinds.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        x, log_det = flow.transform.inverse_and_log_det(DATA)
        score = flow().log_prob(DATA)
    assert kinds[0] == torch.bfloat16
    assert x.dtype == log_det.dtype == score.dtype == torch.float32
    plain = small(hidden=(16,))
    one = fit(plain, DATA, epochs=20, learning_rate=1e-2)
    two = fit(flow, DATA, epochs=20, learning_rate=1e-2, precision="bf16")
    assert one.best_loss != two.best_loss
    assert two.best_loss == pytest.approx(one.best_loss, abs=0.05)
    assert all(p.dtype == torch.float32 for p in flow.parameters())
    assert flow().log_prob(DATA).dtype == torch.float32
    fit(flow, DATA, epochs=1)  # and back to full precision in the same process


def test_float64_stays_float64():
    flow = small().double()
    fit(flow, DATA)
    assert {v.dtype for v in flow.state_dict().values() if v.is_floating_point()} == {torch.float64}


class Breaking(nn.Module):
    """A conditioner that gives NaN from its `after`-th call in training on, or a NaN gradient only."""

    def __init__(self, after, *, gradient=False):
        super().__init__()
        self.net, self.after, self.gradient, self.calls = nn.Linear(1, 2), after, gradient, 0

    def forward(self, x):
        self.calls += self.training
        broken = self.calls > self.after
        out = self.net(x)
        if broken and self.gradient:
            return out + (out * 0).abs().sqrt() * 0  # sqrt has an infinite gradient at zero
        return out * float("nan") if broken else out


def breaking(after, *, gradient=False):
    torch.manual_seed(1)
    nets = [nn.Linear(1, 2), Breaking(after, gradient=gradient)]
    couplings = [
        pf.transforms.Coupling(halves(bool(i)), pf.elementwise.Affine(), net) for i, net in enumerate(nets)
    ]
    return pf.Flow([*couplings, pf.transforms.Standardize.of(DATA)])


@pytest.mark.parametrize("validation", [0, 0.1])
@pytest.mark.parametrize("after", [0, 3, 12])  # in the first step, the first epoch, the third
def test_a_non_finite_loss_names_the_layer_and_keeps_good_weights(validation, after):
    flow = breaking(after)
    with pytest.raises(
        NonFiniteLoss, match=rf"step {after}; first in the layer transform.parts.1 \(Coupling\)"
    ):
        fit(flow, DATA, validation=validation, epochs=5)
    flow.transform[1].conditioner.after = 10**9
    assert not flow.training
    assert bool(flow().log_prob(DATA).isfinite().all())


def test_a_non_finite_gradient_is_named():
    with pytest.raises(NonFiniteLoss, match=r"first in the gradient of transform.parts.1"):
        fit(breaking(2, gradient=True), DATA)


def test_weights_that_explode_are_taken_back():
    flow = small()
    with pytest.raises(NonFiniteLoss, match="smaller learning_rate"):
        fit(flow, DATA, learning_rate=1e30, validation=0)
    assert bool(flow().log_prob(DATA).isfinite().all())


def test_a_row_of_a_data_set_is_named():
    rows = Rows(lambda i: DATA[i] * (float("nan") if i == 7 else 1))
    with pytest.raises(NonFiniteLoss, match=r"the data: row \d+ of the batch holds a NaN"):
        fit(small(), rows, validation=0, batch_size=200)


def test_running_averages_are_untouched_by_validation(monkeypatch):
    flow, run = small(norm=pf.transforms.BatchNorm), pf.training.run.Run
    batch_norms = [m for m in flow.modules() if isinstance(m, pf.nn.RunningMoments)]
    seen, validate = [], run._validate

    def spy(self, rows):
        before = [bits(m) for m in batch_norms]
        validate(self, rows)
        assert not same(bits(batch_norms[0]), before[0])  # recomputed
        seen.append(before)

    after_step, step = [], run._step

    def first_steps(self, *batch):
        if seen and self.step == 0:
            after_step.append([bits(m) for m in batch_norms])
        step(self, *batch)

    monkeypatch.setattr(run, "_validate", spy)
    monkeypatch.setattr(run, "_step", first_steps)
    fit(flow, DATA)
    assert len(after_step) == 2
    for before, after in zip(seen, after_step, strict=False):
        assert all(same(a, b) for a, b in zip(before, after, strict=True))


def test_validation_scores_with_statistics_of_the_training_rows():
    data = torch.randn(500, 2) * 3 + 10
    flow = pf.Flow([pf.real_nvp(2, depth=2), pf.transforms.BatchNorm(2)])
    fit(flow, data, validation=0, epochs=1, batch_size=50, units=False)
    torch.testing.assert_close(flow.transform[1].moments.mean, data.mean(0))
    torch.testing.assert_close(flow.transform[1].moments.variance, data.var(0, correction=0))


def test_the_mode_is_evaluation_after_an_error_too():
    flow = small(context_dim=3)
    with pytest.raises(ValueError, match="expected a context"):
        fit(flow, DATA)
    assert not flow.training


def test_a_progress_bar_is_shown_and_closed(capsys):
    fit(small(), DATA, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "best" in shown


BAD = {
    "no-flow": (lambda: fit(pf.real_nvp(2), DATA), TypeError, "expected a Flow; got Chain"),
    "no-parameters": (
        lambda: fit(pf.Flow(pf.transforms.Standardize.of(DATA)), DATA),
        ValueError,
        "expected a flow with parameters",
    ),
    "text": (
        lambda: fit(small(), [["a", "b"]]),
        TypeError,
        "expected data as an array, tensor or dataset of num",
    ),
    "object": (lambda: fit(small(), object()), TypeError, "got object"),
    "no-rows": (lambda: fit(small(), torch.zeros(0, 2)), ValueError, "expected data of shape"),
    "a-number": (lambda: fit(small(), torch.tensor(1.0)), ValueError, "expected data of shape"),
    "width": (
        lambda: fit(small(), torch.zeros(100, 3)),
        ValueError,
        r"expected values of event shape \(2,\)",
    ),
    "nan": (lambda: fit(small(), DATA.where(DATA < 5, torch.nan)), ValueError, "expected finite data; got"),
    "overflow": (lambda: fit(small(), DATA.double() * 1e200), ValueError, "expected data of sizes that"),
    "nan-context": (
        lambda: fit(small(context_dim=3), DATA, context=CONTEXT.where(CONTEXT < 1, torch.inf)),
        ValueError,
        "expected finite context",
    ),
    "nan-validation": (
        lambda: fit(small(), DATA, validation=DATA * torch.nan),
        ValueError,
        "expected finite validation data",
    ),
    "short-context": (
        lambda: fit(small(context_dim=3), DATA, context=CONTEXT[:10]),
        ValueError,
        "expected 200 rows of context",
    ),
    "needless-context": (lambda: fit(small(), DATA, context=CONTEXT), ValueError, "takes no context"),
    "two-contexts": (
        lambda: fit(small(context_dim=3), TensorDataset(DATA, CONTEXT), context=CONTEXT),
        TypeError,
        r"\(x, context\) pairs",
    ),
    "triples": (
        lambda: fit(small(), TensorDataset(DATA, DATA, DATA)),
        TypeError,
        "expected a dataset of rows x",
    ),
    "dictionaries": (lambda: fit(small(), Rows(lambda i: {"x": DATA[i]})), TypeError, "got dict"),
    "empty-dataset": (lambda: fit(small(), Rows(None, 0)), ValueError, "expected a dataset with rows"),
    "no-length": (
        lambda: fit(small(), Endless()),
        TypeError,
        "expected a dataset with a length",
    ),
    "fraction": (
        lambda: fit(small(), DATA, validation=1.0),
        ValueError,
        r"expected a validation fraction in \[0, 1\)",
    ),
    "too-few-rows": (lambda: fit(small(), DATA[:3]), ValueError, "expected enough rows to hold out 0.1"),
    "setting": (lambda: fit(small(), DATA, epoch=3), TypeError, "epoch"),
    "epochs": (lambda: fit(small(), DATA, epochs=0), ValueError, "expected epochs ≥ 1; got 0"),
    "half-an-epoch": (lambda: fit(small(), DATA, epochs=0.5), TypeError, "expected epochs as an integer"),
    "batch-size": (lambda: fit(small(), DATA, batch_size=-1), ValueError, "expected batch_size ≥ 1"),
    "rate": (
        lambda: fit(small(), DATA, learning_rate=float("nan")),
        ValueError,
        "expected learning_rate > 0",
    ),
    "precision": (
        lambda: fit(small(), DATA, precision="fp8"),
        ValueError,
        'expected precision "no" or "bf16"',
    ),
    "seed": (lambda: fit(small(), DATA, seed=-1), ValueError, "expected a seed in"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_batch_is_never_larger_than_the_data():
    history = fit(small(), DATA, batch_size=10_000)
    assert history.steps == 3


@pytest.mark.parametrize("trace", [pf.ode.Exact(), pf.ode.Hutchinson()])
def test_a_density_owed_to_the_solvers_steps_is_told(trace):
    """A single step of Euler's method is far off."""
    data = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    layer = pf.ffjord(2, hidden=(8,), solver=pf.ode.RungeKutta(1, "euler"), trace=trace)
    flow = pf.Flow(layer)
    options = {"epochs": 1, "validation": 0, "progress": False}
    with torch.no_grad():
        layer.field.last.weight.normal_()
    with pytest.warns(UserWarning, match="profit from the solver's error") as caught:
        pf.fit(flow, data, **options)
    assert [warning.filename for warning in caught] == [__file__]
    assert layer.solver == pf.ode.RungeKutta(1, "euler")
    flow = pf.Flow(pf.ffjord(2, hidden=(8,), solver=pf.ode.RungeKutta(8), trace=trace))
    pf.fit(flow, data, **options)  # warnings are errors


def test_the_solvers_steps_are_judged_by_the_loss_that_was_trained():
    """Here the rows' weights come as a context, which the flow itself does not take."""
    data = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))

    def weighed(flow, x, context):
        return -context[:, 0] * flow().log_prob(x)

    options = {"context": data.abs()[:, :1], "loss": weighed, "epochs": 1, "validation": 0, "progress": False}
    flow = pf.Flow(pf.ffjord(2, hidden=(8,), solver=pf.ode.RungeKutta(8)))
    assert pf.fit(flow, data, **options).steps > 0
    layer = pf.ffjord(2, hidden=(8,), solver=pf.ode.RungeKutta(1, "euler"))
    with torch.no_grad():
        layer.field.last.weight.normal_()
    with pytest.warns(UserWarning, match="profit from the solver's error"):
        pf.fit(pf.Flow(layer), data, **options)
    matched = pf.Flow(pf.ffjord(2, hidden=(8,), solver=pf.ode.RungeKutta(1, "euler")))
    pf.fit(matched, data, loss=pf.training.FlowMatching(), epochs=1, validation=0, progress=False)
