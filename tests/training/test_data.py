import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows._arrays import as_tensor
from pyro_flows.training.data import Data


def rows(count, width=2, seed=5):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


DATA = rows(200) * 2 + 1
CONTEXT = rows(200, 3, seed=6)
COLUMN = CONTEXT[:, :1]
LABELS = torch.arange(200) % 3


def small(dim=2, **options):
    torch.manual_seed(1)
    options = {"depth": 2, "hidden": (8,)} | options
    return pf.Flow(pf.real_nvp(dim, **options))


def fit(flow, data, **options):
    options = {"epochs": 2, "batch_size": 32, "progress": False} | options
    return pf.fit(flow, data, **options)


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.numpy(), columns=["a", "b"])
    return {"float32": frame, "mixed": frame.astype({"a": "float64"}), "nullable": frame.astype("Float32")}


ARRAYS = {
    "big-endian": DATA.numpy().astype(">f4"),
    "long-double": DATA.numpy().astype(np.longdouble),
    "fortran": np.asfortranarray(DATA.numpy()),
    "unmasked": np.ma.masked_invalid(DATA.numpy()),
    "tensors": list(DATA),
}


@pytest.mark.parametrize("name", [*ARRAYS, "float32", "mixed", "nullable"])
def test_every_array_gives_the_bits_of_a_tensor(name):
    given = ARRAYS[name] if name in ARRAYS else frames()[name]
    one, two = small(), small()
    fit(one, DATA)
    fit(two, given)
    assert same(one, two)
    with torch.no_grad():
        scores = two().log_prob(np.stack(given) if isinstance(given, list) else given)
        torch.testing.assert_close(scores.float(), one().log_prob(DATA))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "u2", "i4", ">u4", "i8", "u8", "f2", ">f8", "g"])
def test_every_kind_of_number_keeps_its_value(dtype):
    numbers = np.array([[0, 1], [1, 0]], dtype=dtype)
    found = as_tensor(numbers, "data")
    assert found.double().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert not np.shares_memory(found.numpy(), numbers)


def test_frames_of_nullable_columns():
    pandas = pytest.importorskip("pandas")
    columns = {
        "whole": pandas.array([1, 2, None], dtype="Int64"),
        "flag": pandas.array([True, False, None], dtype="boolean"),
        "real": pandas.array([0.5, None, 1.5], dtype="Float64"),
        "plain": [1, 2, 3],
    }
    found = as_tensor(pandas.DataFrame(columns), "data")
    nan = float("nan")
    wanted = torch.tensor([[1, 1, 0.5, 1], [2, 0, nan, 2], [nan, nan, 1.5, 3]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, equal_nan=True)
    big = pandas.DataFrame({"id": pandas.array([2**60 + 1], dtype="Int64")})
    assert as_tensor(big, "data").tolist() == [[2**60 + 1]]


def test_frames_backed_by_arrow():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, None], "b": [0.5, 1.0]}).convert_dtypes(dtype_backend="pyarrow")
    assert as_tensor(frame, "data")[0].tolist() == [1.0, 0.5]


def masked(rows):
    mask = np.zeros(rows.shape, dtype=bool)
    mask[7, 0] = True
    return np.ma.MaskedArray(rows.numpy(), mask)


MASKED = {
    "data": lambda: fit(small(), masked(DATA)),
    "context": lambda: fit(small(context_dim=3), DATA, context=masked(CONTEXT)),
    "validation data": lambda: fit(small(), DATA, validation=masked(DATA)),
    "weights": lambda: fit(small(), DATA, weights=masked(DATA)[:, 0]),
    "values": lambda: small()().log_prob(masked(DATA)),
    "context to score": lambda: small(context_dim=3)(masked(CONTEXT)),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_cells_are_refused_by_name_and_row(name):
    what = name.removesuffix(" to score")
    with pytest.raises(ValueError, match=f"expected {what} without masked cells; got .* the first is row 7"):
        MASKED[name]()


def test_sparse_arrays_text_and_dates_get_one_clear_line():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"dense array; got a sparse csr_matrix: give data.toarray\(\)"):
        fit(small(), sparse.csr_matrix(DATA.numpy()))
    with pytest.raises(TypeError, match=r"got a sparse one: give data.to_dense\(\)"):
        fit(small(), DATA.to_sparse())
    with pytest.raises(TypeError, match="expected data of real numbers"):
        fit(small(), DATA + 0j)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0], "name": ["x"]})
    with pytest.raises(TypeError, match=r"expected data of numbers; got .* in column 'name'"):
        fit(small(), frame)
    with pytest.raises(TypeError, match=r"got datetime64.* in column 'day'"):
        fit(small(), pandas.DataFrame({"day": pandas.to_datetime(["2020-01-01"])}))


def test_standardize_of_double_data_fits_and_scores():
    data = DATA.double() * 30 + 100
    flow = pf.Flow([pf.real_nvp(2, depth=2, hidden=(8,)), tr.Standardize.of(data.numpy())])
    history = fit(flow, data)
    with torch.no_grad():
        assert -flow().log_prob(data).mean() == pytest.approx(history.best_loss, abs=0.5)
        assert flow().log_prob(data.float()).isfinite().all()
    assert flow().sample((5,)).shape == (5, 2)


def test_a_flow_scores_what_fit_takes():
    flow, conditional = small(), small(context_dim=3)
    wanted = flow().log_prob(DATA)
    assert torch.equal(flow().log_prob(DATA.double()), wanted)
    assert torch.equal(flow().log_prob(DATA.numpy().astype(">f8")), wanted)
    assert flow().log_prob(torch.ones(5, 2, dtype=torch.long)).shape == (5,)
    doubled = small().double()
    torch.testing.assert_close(doubled().log_prob(DATA).float(), wanted)
    torch.testing.assert_close(
        conditional(CONTEXT.numpy().astype("f8")).log_prob(DATA), conditional(CONTEXT).log_prob(DATA)
    )


def test_rows_of_several_events():
    data = rows(300, 72).reshape(300, 24, 3)
    history = fit(small(3), data, epochs=3)
    assert history.val_loss[-1] == pytest.approx(history.train_loss[-1], abs=0.1)
    assert history.best_loss < 5


def test_a_loss_of_one_number_is_refused():
    with pytest.raises(ValueError, match=r"one a row, of shape \(32,\); got \(\)"):
        fit(small(), DATA, loss=lambda flow, x, context: -flow().log_prob(x).mean())


def test_weights_count_rows():
    data = torch.cat([rows(150), rows(50) + 3])
    weights = torch.cat([torch.zeros(150), torch.full((50,), 7.0)])
    weighted, alone, thrice, copied = (small() for _ in range(4))
    fit(weighted, data, weights=weights)
    fit(alone, data[150:])
    assert same(weighted, alone)  # a row of weight zero is no row
    options = {"epochs": 40, "validation": 0, "learning_rate": 5e-3, "units": False, "batch_size": 300}
    fit(thrice, data, weights=1 + 2 * (weights > 0), **options)
    with pytest.warns(UserWarning, match="100 of 300 rows are copies"):
        fit(copied, torch.cat([data, data[150:], data[150:]]), **options)
    with torch.no_grad():
        torch.testing.assert_close(thrice().log_prob(data), copied().log_prob(data), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("unit", [1e300, 1e-300, 1e-42])
def test_weights_of_any_unit(unit):
    weights = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) + 0.1
    one, two = small(), small()
    history = fit(one, DATA, weights=weights, validation=(DATA, None, weights))
    scaled = fit(two, DATA, weights=weights * unit, validation=(DATA, None, weights * unit))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert scaled.val_loss == pytest.approx(history.val_loss, rel=1e-4)


@pytest.mark.parametrize("kind", ["tensor", "dataset"])
def test_rows_of_weight_zero_are_neither_trained_on_nor_held_out(kind):
    weights = torch.ones(200)
    weights[torch.randperm(200, generator=torch.Generator().manual_seed(0))[:20]] = (
        0  # what would be held out
    )
    history = fit(small(), DATA if kind == "tensor" else TensorDataset(DATA), weights=weights, epochs=1)
    assert 0 < history.best_loss < 10
    few = torch.zeros(200)
    few[:5] = 1
    with pytest.raises(ValueError, match=r"enough rows to hold out 0\.1 of them; got 5: give validation=0"):
        fit(small(), DATA, weights=few)


def test_equal_weights_change_nothing_and_validation_is_weighted():
    one, two, three = small(), small(), small()
    history = fit(one, DATA)
    equal = fit(two, DATA, weights=np.full(200, 3))
    assert same(one, two)
    assert equal.val_loss == pytest.approx(history.val_loss)
    weights = torch.rand(200)
    found = fit(three, DATA, weights=weights, validation=0.5, epochs=1)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:100]
    with torch.no_grad():
        losses = -three().log_prob(DATA[order])
    assert found.best_loss == pytest.approx(float((weights[order] * losses).sum() / weights[order].sum()))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(3), "expected 200 weights, one a row"),
        (-torch.ones(200), "expected finite weights ≥ 0; got -1.0 in row 0 of the data"),
        (torch.zeros(200), "some of them positive; got 0 in all 200 rows of the data"),
        (torch.full((200,), torch.nan), "expected finite weights ≥ 0; got nan in row 0"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        fit(small(), DATA, weights=weights)


def test_weights_through_a_loss_and_context_of_ones_own():
    weights = torch.rand(200)
    one, two = small(), small()
    fit(
        one,
        DATA,
        context=weights / weights.mean(),
        loss=lambda flow, x, w: -w * flow().log_prob(x),
        validation=0,
    )
    fit(two, DATA, weights=weights, validation=0)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_weights_are_the_same_in_a_resumed_run(tmp_path):
    weights = torch.rand(200)
    whole, cut = small(), small()
    fit(whole, DATA, weights=weights, epochs=4)

    path = tmp_path / "run"
    fit(cut, DATA, weights=weights, epochs=4, checkpoint=path)
    again = small()
    fit(again, DATA, weights=weights, epochs=4, checkpoint=path)
    assert same(whole, cut)
    assert same(whole, again)
    with pytest.raises(ValueError, match="weights"):
        fit(small(), DATA, epochs=4, checkpoint=path)


def test_pairs_for_a_flow_without_context_say_what_to_do():
    images = TensorDataset(DATA, LABELS)
    for units in (True, False):
        with pytest.raises(ValueError, match=r"takes no context; got one: give x alone .* labels=True"):
            fit(small(), images, units=units)
    with pytest.raises(ValueError, match="takes no context; got one"):
        fit(small(), DATA, context=CONTEXT)
    with pytest.raises(ValueError, match=r"rows of shape \(\): labels become one-hot vectors by labels=True"):
        fit(small(context_dim=3), images)


@pytest.mark.parametrize("kind", ["dataset", "tensors"])
def test_labels_become_one_hot_contexts(kind):
    one, two = small(context_dim=3), small(context_dim=3)
    fit(one, DATA, context=torch.nn.functional.one_hot(LABELS, 3))
    if kind == "tensors":
        fit(two, DATA, context=LABELS.numpy(), labels=True)
    else:
        fit(two, TensorDataset(DATA, LABELS), labels=True)
    assert same(one, two)
    assert not two.context_units.active
    assert two(torch.nn.functional.one_hot(LABELS, 3)).log_prob(DATA).shape == (200,)
    with pytest.raises(ValueError, match=r"expected labels in 0 … 2"):
        fit(small(context_dim=3), DATA, context=LABELS + 1, labels=True)
    with pytest.raises(ValueError, match="expected a flow whose context is a vector"):
        fit(small(), DATA, context=LABELS, labels=True)


COLUMNS = {
    "tensor": lambda: {"context": LABELS[:, None]},
    "frame": lambda: {"context": pytest.importorskip("pandas").DataFrame({"label": LABELS.numpy()})},
    "dataset": lambda: {"data": TensorDataset(DATA, LABELS[:, None, None])},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_may_be_a_column(name):
    """They were broadcast against all rows of the batch, and averaged out of the flow."""
    one, two = small(context_dim=3), small(context_dim=3)
    fit(one, DATA, context=LABELS, labels=True)
    given = {"data": DATA, "context": None} | COLUMNS[name]()
    fit(two, labels=True, validation=0.1, **given)
    assert same(one, two)


ONES = CONTEXT[:, None]
WIDE = {
    "data": lambda: fit(small(context_dim=3), DATA, context=ONES),
    "loss": lambda: fit(small(context_dim=3), DATA, context=ONES, units=False),
    "dataset": lambda: fit(small(context_dim=3), TensorDataset(DATA, ONES)),
    "validation": lambda: fit(small(context_dim=3), DATA, context=CONTEXT, validation=(DATA, ONES)),
    "statistics": lambda: pf.update_statistics(small(context_dim=3, norm=tr.BatchNorm), DATA, context=ONES),
    "ensemble": lambda: pf.fit_ensemble(
        pf.Ensemble([small(context_dim=3)]), DATA, context=ONES, epochs=1, progress=False
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_contexts_of_more_dimensions_than_rows_have_are_refused(name):
    expected = (
        r"expected a context of row shape \(3,\), one for each .* of shape \(2,\); got row shape \(1, 3\)"
    )
    with pytest.raises(ValueError, match=expected):
        WIDE[name]()


LOSSES = {
    "matching": (pf.training.FlowMatching(), lambda: pf.ffjord(2, hidden=(8,), context_dim=3)),
    "penalised": (pf.training.PenalisedLikelihood(), lambda: pf.ffjord(2, hidden=(8,), context_dim=3)),
    "own": (lambda flow, x, c: -flow(c).log_prob(x), lambda: pf.nice(2, hidden=(8,), context_dim=3)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_all_rows_under_all_contexts_are_refused(name):
    loss, make = LOSSES[name]
    with pytest.raises(
        ValueError, match=r"one a row, of shape \(32,\); got \(32, 32\), from a context of shape"
    ):
        fit(pf.Flow(make()), DATA, context=ONES, loss=loss, epochs=1)


def test_rows_of_several_events_with_contexts():
    data = rows(100, 10).reshape(100, 5, 2)
    context = rows(100, 3, seed=6)[:, None]
    one, two = small(context_dim=3), small(context_dim=3)
    found = fit(one, data, context=context)
    wanted = fit(two, data, context=context.expand(100, 5, 3))
    assert found.val_loss == pytest.approx(wanted.val_loss, rel=1e-3)
    for bad in (context[:, 0], context.expand(100, 4, 3)):
        with pytest.raises(
            ValueError, match=r"a context of row shape \(5, 3\), .*of shape \(5, 2\); got row shape"
        ):
            fit(small(context_dim=3), data, context=bad)
    with pytest.raises(ValueError, match=r"expected labels of row shape \(5,\), .*; got row shape \(4,\)"):
        fit(small(context_dim=3), data, context=torch.zeros(100, 4), labels=True)


class Stream(IterableDataset):
    def __len__(self):
        return 200

    def __iter__(self):
        return iter(DATA)


@pytest.mark.parametrize("wrapped", [False, True])
def test_streams_are_refused(wrapped):
    data = DataLoader(Stream()) if wrapped else Stream()
    with pytest.raises(TypeError, match="a dataset with a length, whose rows have an index; got Stream"):
        fit(small(), data)


TOO_WIDE = {
    "large": (
        lambda: fit(small(), DATA.double() * 1e60),
        "expected data of sizes that the flow's float32 can hold",
    ),
    "small": (lambda: fit(small(), DATA.numpy().astype(float) * 1e-60), "got .*e-60 as an element's largest"),
    "half": (lambda: fit(small().half(), DATA * 1e6), r"float16 can hold, 6e-01 to 7e\+04; got"),
    "dataset": (lambda: fit(small(), TensorDataset(DATA.double() * 1e60)), "expected data of sizes"),
    "context": (
        lambda: fit(small(context_dim=3), DATA, context=CONTEXT.double() * 1e60),
        r"expected context of sizes .* in row \d+, column \d: give other units, or fit flow.double\(\)",
    ),
    "validation": (
        lambda: fit(small(), DATA, validation=DATA.double() * 1e60),
        "expected validation data of sizes",
    ),
}


@pytest.mark.parametrize("name", TOO_WIDE)
def test_numbers_beyond_the_flows_precision_are_refused(name):
    make, message = TOO_WIDE[name]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("unit", [1e60, 1e-60, 1e200, 1e-200])
def test_a_flow_of_doubles_takes_numbers_of_any_size(unit):
    data = DATA.double() + 5
    one, two = small().double(), small().double()
    wanted, found = fit(one, data).best_loss, fit(two, data * unit).best_loss
    assert found == pytest.approx(wanted + 2 * np.log(unit), abs=1e-2)


def frame(values, *names):
    return pytest.importorskip("pandas").DataFrame(np.asarray(values), columns=list(names))


def test_frames_go_by_the_names_of_their_columns():
    data, context = frame(DATA * 3 + 1, "a", "b"), frame(CONTEXT, "u", "v", "w")
    one, two = small(context_dim=3), small(context_dim=3)
    fit(one, DATA * 3 + 1, context=CONTEXT, validation=(DATA, CONTEXT))
    turned = {"data": data, "context": context, "validation": (frame(DATA, "a", "b")[["b", "a"]], CONTEXT)}
    fit(two, **turned)
    assert same(one, two)
    assert (two.columns, two.context_columns) == (("a", "b"), ("u", "v", "w"))
    wanted = one(CONTEXT).log_prob(DATA * 3 + 1)
    ensemble = pf.Ensemble([two])
    copies = (two, copy.deepcopy(two), pickle.loads(pickle.dumps(two)), two.tempered(1.0), ensemble)
    for flow in copies:
        found = flow(context[["w", "u", "v"]]).log_prob(data[["b", "a"]])
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(two(CONTEXT).expand((200,)).log_prob(data[["b", "a"]]), wanted)
    again, other = copy.deepcopy(two), copy.deepcopy(two)
    fit(again, data[["b", "a"]], context=context[["v", "u", "w"]])
    fit(other, data, context=context)
    assert same(again, other)
    assert set(two.state_dict()) == set(one.state_dict())


def test_frames_with_other_names_are_refused():
    flow = small()
    fit(flow, frame(DATA, "a", "b"))
    expected = (
        r"the columns a, b, as the flow was fitted to; got a, c: give .to_numpy\(\) if they are the same"
    )
    with pytest.raises(ValueError, match=f"expected values with {expected}"):
        flow().log_prob(frame(DATA, "a", "c"))
    with pytest.raises(ValueError, match=f"expected data with {expected}"):
        fit(flow, frame(DATA, "a", "c"))
    with pytest.raises(ValueError, match=f"expected validation data with {expected}"):
        fit(small(), frame(DATA, "a", "b"), validation=frame(DATA, "a", "c"))
    with pytest.raises(ValueError, match="the columns a, b, as the flow was fitted to; got a, b, c"):
        pf.update_statistics(flow, frame(rows(20, 3), "a", "b", "c"))
    wanted = flow().log_prob(DATA)
    for plain in (DATA, DATA.numpy(), frame(DATA, 0, 1)):  # by position
        torch.testing.assert_close(flow().log_prob(plain), wanted)
    unnamed = small()
    fit(unnamed, frame(DATA, 0, 1))
    torch.testing.assert_close(unnamed().log_prob(frame(DATA, "a", "b")), wanted)
    torch.testing.assert_close(unnamed().log_prob(frame(DATA, 0, 1)[[1, 0]]), wanted)
    labelled = small(context_dim=3)
    fit(labelled, DATA, context=frame(LABELS, "label"), labels=True)
    assert labelled.context_columns is None


def test_contexts_and_values_that_do_not_fit_say_so():
    flow = small(context_dim=3)
    with pytest.raises(ValueError, match=r"broadcasts with the context's, \(200,\); got \(5,\)"):
        flow(CONTEXT).log_prob(DATA[:5])
    assert flow(CONTEXT[:1]).log_prob(DATA).shape == flow(CONTEXT).log_prob(DATA[:1]).shape == (200,)
    assert flow(CONTEXT).log_prob(rows(5)[:, None]).shape == (5, 200)
    with pytest.raises(
        ValueError, match=r"takes no context; got one: call flow\(\), or build .* context_dim"
    ):
        small()(CONTEXT)
    with pytest.raises(TypeError, match=r"expected values of real numbers; got torch\.complex64"):
        small()().log_prob(DATA + 0j)
    with pytest.raises(TypeError, match=r"a context of real numbers; got torch\.complex64"):
        flow(CONTEXT + 0j)


class Noisy(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        return DATA[index] + 0.1 * torch.randn(2)


@pytest.mark.parametrize("options", [{}, {"batch_size": 7, "shuffle": True, "drop_last": True}])
def test_a_loader_gives_the_bits_of_its_data_set(options):
    one, two = small(), small()
    fit(one, TensorDataset(DATA))
    fit(two, DataLoader(TensorDataset(DATA), **options))
    assert same(one, two)


def test_rows_read_by_worker_processes_depend_on_seed_and_epoch_alone():
    flows = [small() for _ in range(3)]
    for flow, workers, seed in zip(flows, (1, 2, 2), (0, 0, 1), strict=True):
        fit(flow, DataLoader(Noisy(), num_workers=workers), validation=0, units=False, seed=seed, epochs=1)
    assert same(flows[0], flows[1])
    assert not same(flows[1], flows[2])


COPIES = {
    "rows": (torch.cat([DATA, DATA[:100]]), r"\d+ of 270 rows are copies of others"),
    "column": (torch.cat([DATA, DATA[:, :1]], 1), "columns 0, 2 are linearly dependent"),
    "scaled": (torch.cat([DATA, 3 - 7 * DATA[:, 1:]], 1), "columns 1, 2 are linearly dependent"),
    "sum": (
        torch.cat([DATA.double(), DATA.double().sum(1, keepdim=True), CONTEXT], 1),
        "columns 0, 1, 2 are lin",
    ),
    "constant": (torch.cat([DATA, torch.full((200, 1), 3.0)], 1), "column 2 is constant"),
    "flag": (torch.cat([DATA, (COLUMN > 0).float()], 1), "column 2 is of 12 values or fewer"),
    "levels": (torch.cat([rows(200, 1), DATA.div(2).round()], 1), "columns 1, 2 are of 12 values or fewer"),
    "zeros": (
        torch.cat([DATA.clamp(min=0), CONTEXT], 1),
        "columns 0, 1 are at one value in 5% of the rows or more. .* need pf.tables.fit",
    ),
    "capped": (torch.cat([DATA, COLUMN.clamp(-1.2, 1.2)], 1), "column 2 is at one value in 5% of the rows"),
    "zeros and cents": (
        torch.cat([DATA, 5 * COLUMN.clamp(min=0).mul(100).round() / 100], 1),
        "column 2 is at one value",
    ),
}


@pytest.mark.parametrize(("data", "message"), COPIES.values(), ids=COPIES)
def test_data_without_a_density_are_told_of(data, message):
    with pytest.warns(UserWarning, match=f"the data have no density.*{message}") as seen:
        fit(small(data.shape[1]), data, epochs=1)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_whole_numbers_may_come_twice():
    flow = pf.Flow([pf.nice(2), tr.Dequantize(levels=17, event_dim=1)])
    fit(flow, torch.randint(0, 17, (300, 2)), epochs=1)  # no warning


@pytest.mark.parametrize("digits", [0.5, 1, 2])
@pytest.mark.parametrize("skew", [0.0, 2.0])
def test_rounding_makes_no_frequent_values(digits, skew):
    x = rows(1000, 6)
    x = x if not skew else (skew * x).exp()
    fit(small(6), x.mul(10**digits).round() / 10**digits, epochs=1)  # no warning


def test_few_rows_with_a_frequent_value_are_told_nothing():
    fit(small(3), torch.cat([DATA, COLUMN.clamp(min=0)], 1)[:15], epochs=1, batch_size=5)  # no warning


def test_nearly_dependent_columns_are_no_copies():
    column = DATA[:, :1].double()
    fit(small(3), torch.cat([DATA.double(), column + 1e-3 * rows(200, 1)], 1), epochs=1)  # no warning


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // 4)
        return found


def test_reading_images_needs_no_more_memory_than_a_step():
    images = torch.rand(300, 3, 64, 64)
    flow = pf.Flow(pf.glow((3, 64, 64), depth=1, width=32, scales=2, context_dim=10))
    labels = torch.arange(300) % 10
    with Largest() as reading:
        train, _ = Data(images, labels, labels=True).read(flow, seed=0, any_context=False, warn=True)
    x, context = next(train.batches([torch.arange(128)]))
    with Largest() as step:
        flow(context).log_prob(x).mean().backward()
    assert reading.numbers <= step.numbers


def test_a_loader_with_a_sampler_of_its_own_is_refused():
    sampler = torch.utils.data.WeightedRandomSampler(torch.ones(200), 200)
    with pytest.raises(ValueError, match="got WeightedRandomSampler: give the data set, and weights="):
        fit(small(), DataLoader(TensorDataset(DATA), sampler=sampler))


def test_a_loss_of_ones_own_may_take_rows_of_any_shape():
    wide = torch.cat([DATA, CONTEXT], 1)
    flow = small()
    fit(flow, wide, loss=lambda flow, x, context: -flow().log_prob(x[:, :2]))
    assert not flow.units.active
