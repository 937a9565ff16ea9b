import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_flows as pf
from pyro_flows.tables import Schema, TableFlow


def perturbed(schema, family=pf.maf):
    """A flow that is far from the identity."""
    model = TableFlow(schema, lambda dim: family(dim, depth=2, hidden=(8,)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.flow.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def small_table():
    g = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "c": g.choice(["a", "b", None], size=60, p=[0.5, 0.3, 0.2]),
            "n": g.choice([1.5, 2.0, 7.0], size=60),
            "yes": g.random(60) < 0.3,
        }
    )


def test_probabilities_of_all_rows_sum_to_one():
    frame = small_table()
    model = perturbed(Schema.of(frame))
    cells = [["a", "b", None], [1.5, 2.0, 7.0], [True, False]]
    every = pd.DataFrame(list(itertools.product(*cells)), columns=list(frame))
    exact = model.log_prob(every, num_samples=5000).exp()
    assert float(exact.sum()) == pytest.approx(1, abs=0.01)
    bound = torch.stack([model.log_prob(every, num_samples=1, seed=i) for i in range(100)])
    assert float(bound.mean(0).exp().sum()) < 1  # E log ≤ log E
    assert float(bound.exp().mean(0).sum()) == pytest.approx(1, abs=0.05)
    frequencies = model.sample(10_000).fillna({"c": "gap"}).value_counts(normalize=True)
    rows = every.fillna({"c": "gap"}).itertuples(index=False, name=None)
    shares = [float(frequencies.get(row, 0.0)) for row in rows]
    np.testing.assert_allclose(shares, exact, atol=0.015)  # what is drawn is what is scored


def test_the_identity_scores_columns_independently_and_exactly():
    frame = small_table().assign(x=np.random.default_rng(1).normal(size=60))
    schema = Schema.of(frame)
    model = TableFlow(schema, lambda dim: pf.real_nvp(dim, depth=1))
    scores = model.log_prob(frame, num_samples=1)
    torch.testing.assert_close(scores, schema.encode(frame)[:, 2].sum(-1), rtol=1e-5, atol=1e-4)


def test_densities_integrate_to_one_over_all_columns():
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"x": 50 + 10 * g.normal(size=300), "c": g.choice(["a", "b"], size=300)})
    model = perturbed(Schema.of(frame))
    x = np.linspace(-300, 400, 1501)
    total = 0.0
    for c in "ab":
        scores = model.log_prob(pd.DataFrame({"x": x, "c": c}), num_samples=64)
        total += float(scores.exp().sum()) * (x[1] - x[0])
    assert total == pytest.approx(1, abs=0.02)


def test_real_numbers_are_scored_exactly():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)) * [1, 1e4], columns=["a", "b"])
    model = perturbed(Schema.of(frame))
    torch.testing.assert_close(
        model.log_prob(frame, num_samples=1), model.log_prob(frame, num_samples=7, seed=5)
    )


def test_a_gap_in_an_independent_column_costs_its_probability():
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"x": g.normal(size=200), "y": g.normal(size=200)})
    frame.loc[::4, "y"] = np.nan
    schema = Schema.of(frame)
    model = TableFlow(schema, lambda dim: pf.real_nvp(dim, depth=1))
    row = pd.DataFrame({"x": [0.3], "y": [np.nan]})
    alone = schema.columns[0].encode(row["x"])[2]
    assert float(model.log_prob(row) - alone) == pytest.approx(math.log(50.5 / 201), abs=1e-4)


def mixed(count=300):
    g = np.random.default_rng(0)
    size = g.normal(170, 10, size=count)
    frame = pd.DataFrame(
        {
            "size": size,
            "colour": pd.Categorical(np.where(size > 170, "red", "blue"), ["blue", "red", "green"]),
            "visits": g.poisson(np.exp((size - 150) / 10)),
            "born": pd.Timestamp("1990-01-01") + pd.to_timedelta(g.integers(0, 9000, count), unit="D"),
            "member": size + g.normal(size=count) > 165,
            "share": g.beta(2, 3, size=count),
        }
    )
    frame.loc[g.random(count) < 0.2, "size"] = np.nan
    return frame


@pytest.fixture(scope="module")
def fitted():
    frame = mixed()
    torch.manual_seed(0)
    return frame, pf.tables.fit(frame, epochs=40, batch_size=64, learning_rate=5e-3, progress=False)


def test_a_fit_learns_how_columns_hang_together(fitted):
    frame, model = fitted
    independent = float(model.schema.encode(frame)[:, 2].sum(-1).mean())
    assert float(model.log_prob(frame).mean()) > independent + 0.8
    drawn = model.sample(2000)
    red = drawn["colour"] == "red"
    assert drawn.loc[red, "visits"].mean() > 2 * drawn.loc[~red, "visits"].mean()


def test_samples_have_the_tables_columns_types_and_categories(fitted):
    frame, model = fitted
    drawn = model.sample(500)
    assert drawn.dtypes.equals(frame.dtypes)
    assert list(drawn["colour"].cat.categories) == ["blue", "red", "green"]
    assert abs(drawn["size"].isna().mean() - 0.2) < 0.08
    assert (drawn["visits"] >= 0).all()
    assert drawn["share"].between(0, 1).all()
    assert bool(model.log_prob(drawn).isfinite().all())


def test_history_is_in_the_tables_units(fitted):
    frame, model = fitted
    assert model.history.best_loss == pytest.approx(-float(model.log_prob(frame).mean()), abs=1.0)


def test_an_odd_row_stands_out(fitted):
    frame, model = fitted
    odd = frame.iloc[:1].assign(visits=500, colour="blue", size=150.0)
    scores = model.log_prob(pd.concat([frame, odd], ignore_index=True))
    assert int(scores.argmin()) == len(frame)


def test_what_cannot_occur_has_no_probability_and_is_told(fitted):
    frame, model = fitted
    given = frame.iloc[:3].assign(colour=["violet", *frame["colour"][1:3]], visits=[-1, 3, 3])
    with pytest.warns(UserWarning, match=r"1 rows hold cells .* −∞; by column: colour \(1\), visits \(1\)"):
        scores = model.log_prob(given)
    assert scores.isfinite().tolist() == [False, True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.log_prob(frame[:0]).shape == (0,)


def test_more_draws_tighten_the_bound(fitted):
    frame, model = fitted
    means = [float(model.log_prob(frame, num_samples=k).mean()) for k in (1, 8, 64)]
    assert means == sorted(means)


def test_saving_and_loading(fitted, tmp_path):
    frame, model = fitted
    model.save(tmp_path / "table.pt")
    torch.load(tmp_path / "table.pt", weights_only=True)
    loaded = TableFlow.load(tmp_path / "table.pt", pf.tables.column_by_column)
    assert torch.equal(loaded.log_prob(frame), model.log_prob(frame))
    assert loaded.history == model.history
    torch.manual_seed(3)
    first = loaded.sample(20)
    torch.manual_seed(3)
    pd.testing.assert_frame_equal(model.sample(20), first)


@pytest.mark.parametrize("family", [pf.real_nvp, pf.nsf, pf.maf, pf.naf])
def test_any_family_of_vectors_will_do(family):
    frame = mixed(100)
    model = pf.tables.fit(frame, family=lambda d: family(d, depth=1, hidden=(4,)), epochs=1, progress=False)
    assert model.sample(3).shape == (3, 6)


def test_one_column_is_a_table():
    frame = pd.DataFrame({"n": np.random.default_rng(0).poisson(4, size=200)})
    model = pf.tables.fit(frame, epochs=1, progress=False)
    total = model.log_prob(pd.DataFrame({"n": np.arange(2000)}), num_samples=64).exp().sum()
    assert float(total) == pytest.approx(1, abs=0.01)


def test_errors_are_clear():
    frame = mixed(50)
    with pytest.raises(ValueError, match="a column that varies; got constant"):
        pf.tables.fit(pd.DataFrame({"a": [1, 1, 1], "b": ["x"] * 3}), validation=0)
    with pytest.raises(ValueError, match=r"enough rows to hold out 0\.1 of them; got 3"):
        pf.tables.fit(frame[:3])
    with pytest.raises(ValueError, match=r"a validation fraction in \[0, 1\); got 1"):
        pf.tables.fit(frame, validation=1)
    with pytest.raises(ValueError, match=r"context among the columns size, .*; got plan, 3$"):
        pf.tables.fit(frame, context=["plan", 3])
    with pytest.raises(TypeError, match=r"a table as a pandas\.DataFrame; got numpy\.ndarray$"):
        pf.tables.fit(frame.to_numpy())
    with pytest.raises(TypeError, match=r"expected kinds as a mapping, .*; got 'real'"):
        pf.tables.fit(frame, kinds="real")
    model = TableFlow(Schema.of(frame), pf.maf)
    with pytest.raises(TypeError, match=r"a table as a pandas\.DataFrame; got pandas\.Series$"):
        model.log_prob(frame["size"])
    with pytest.raises(ValueError, match="num_samples ≥ 1; got 0"):
        model.log_prob(frame, num_samples=0)
    with pytest.raises(TypeError, match=r"num_samples as an integer; got 2\.5"):
        model.log_prob(frame, num_samples=2.5)
    with pytest.raises(ValueError, match="count ≥ 0; got -1"):
        model.sample(-1)
    with pytest.raises(TypeError, match=r"count as an integer; got 10\.0"):
        model.sample(10.0)
    with pytest.raises(TypeError, match="validation as a fraction of the rows; got DataFrame"):
        pf.tables.fit(frame, validation=frame)
    with pytest.raises(TypeError, match=r"expected settings among epochs, .*; got shuffle"):
        pf.tables.fit(frame, shuffle=True)


def test_a_stopped_fit_resumes(tmp_path):
    frame = small_table()
    options = {"epochs": 2, "batch_size": 16, "progress": False}
    whole = pf.tables.fit(frame, checkpoint=tmp_path / "run", **options)
    again = pf.tables.fit(frame, checkpoint=tmp_path / "run", **options)
    assert torch.equal(again.log_prob(frame), whole.log_prob(frame))
    assert again.history == whole.history  # the seconds too: it was read, not run anew


def test_a_fit_depends_on_its_seed_alone():
    frame, options = small_table(), {"epochs": 1, "batch_size": 16, "progress": False}
    settings = pf.training.Settings(**options, seed=3)
    torch.manual_seed(0)
    one = pf.tables.fit(frame, seed=3, **options)
    after = torch.rand(1)
    same, other = pf.tables.fit(frame, settings=settings), pf.tables.fit(frame, settings=settings, seed=4)
    assert torch.equal(one.log_prob(frame), same.log_prob(frame))
    assert not torch.equal(one.log_prob(frame), other.log_prob(frame))
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))  # the caller's generator is left as it was


def test_a_file_of_another_family_is_refused(tmp_path):
    TableFlow(Schema.of(small_table()), pf.maf).save(tmp_path / "table.pt")
    for family in (pf.nsf, lambda dim: pf.maf(dim, hidden=(3,))):
        with pytest.raises(ValueError, match=r"expected the family, .*; got one of other parameters$"):
            TableFlow.load(tmp_path / "table.pt", family)


def test_a_conditional_table_learns_from_its_context():
    g = np.random.default_rng(0)
    size = np.where(g.random(400) < 0.1, np.nan, g.normal(size=400))
    colour = g.choice(["red", "blue"], size=400)
    y = np.nan_to_num(size) + 3 * (colour == "red") + 0.1 * g.normal(size=400)
    frame = pd.DataFrame({"y": y, "size": size, "colour": colour})
    model = pf.tables.fit(frame, context=["size", "colour"], epochs=60, learning_rate=1e-2, progress=False)
    assert model.schema.names == ["y"]
    assert model.context.feature_count == 4  # a score and whether it is missing, and two categories
    assert float(model.log_prob(frame).mean()) > float(model.schema.encode(frame)[:, 2].mean()) + 0.7
    drawn = model.sample(given=frame[:200])
    assert list(drawn) == ["size", "colour", "y"]
    assert np.corrcoef(drawn["y"], y[:200])[0, 1] > 0.9
    with pytest.raises(ValueError, match="rows of size, colour as given; got count=3"):
        model.sample(3)
    with pytest.raises(ValueError, match="column colour: row 1 holds 'violet', which cannot occur"):
        model.log_prob(frame.assign(colour="violet"))


CONTEXTS = {
    "a name": (["plan", "x"], "plan", ["plan"]),
    "a number": ([0, 1], 0, [0]),
    "a NumPy number in a list": ([0, 1], [np.int64(1)], [1]),
    "an index": ([0, 1], pd.RangeIndex(1), [0]),
    "a tuple of two levels": ([("a", "x"), ("b", "y")], [("b", "y")], [("b", "y")]),
}


@pytest.mark.parametrize(("labels", "context", "told"), CONTEXTS.values(), ids=CONTEXTS)
def test_context_is_named_as_in_the_frame(labels, context, told):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=pd.Index(labels))
    kinds = {told[0]: "real"}
    model = pf.tables.fit(frame, context=context, kinds=kinds, epochs=1, progress=False)
    assert model.context.labels == told
    drawn = model.sample(given=frame[told][:3])
    assert list(drawn.columns) == told + [label for label in labels if label not in told]
    assert type(drawn.columns) is type(frame.columns) or isinstance(labels[0], int)


@pytest.mark.parametrize("index", [[3, 3, 7, 3, 9, 7], [math.nan] * 6, [("a", 1)] * 4 + [("b", 2)] * 2])
def test_each_given_row_gets_one_new_row_whatever_its_index(index):
    frame = pd.DataFrame({"c": [*"ab"] * 50, "y": np.random.default_rng(0).normal(size=100)})
    model = pf.tables.fit(frame, context=["c"], epochs=1, progress=False)
    given = pd.DataFrame({"c": [*"aabbab"]})
    torch.manual_seed(0)
    wanted = model.sample(given=given)
    given.index = pd.MultiIndex.from_tuples(index) if isinstance(index[0], tuple) else pd.Index(index)
    torch.manual_seed(0)
    drawn = model.sample(given=given)
    pd.testing.assert_frame_equal(drawn, wanted.set_axis(given.index))
    assert model.sample(given=given[:0]).shape == (0, 2)


def test_conditional_densities_integrate_to_one():
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"y": g.normal(size=100), "c": g.choice(["a", "b"], size=100)})
    model = pf.tables.fit(frame, context=["c"], epochs=2, progress=False)
    y = np.linspace(-60, 60, 6001)
    for c in "ab":
        total = model.log_prob(pd.DataFrame({"y": y, "c": c}), num_samples=1).exp().sum() * (y[1] - y[0])
        assert float(total) == pytest.approx(1, abs=0.01)


def test_weights_count_rows_as_often():
    frame = pd.DataFrame({"c": ["a"] * 100 + ["b"] * 100, "x": np.random.default_rng(0).normal(size=200)})
    weights = np.repeat([3.0, 1.0], 100)
    model = pf.tables.fit(frame, weights=weights, epochs=30, learning_rate=1e-2, progress=False)
    assert model.sample(2000)["c"].eq("a").mean() == pytest.approx(0.75, abs=0.06)
    with pytest.raises(ValueError, match="a weight ≥ 0 for each of 200 rows"):
        pf.tables.fit(frame, weights=-weights, epochs=1, progress=False)
    for wrong in (2.0, weights[:, None]):
        with pytest.raises(ValueError, match="expected a weight for each of 200 rows; got shape"):
            pf.tables.fit(frame, weights=wrong)
    held_out = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:20].numpy()
    for rows, told in (
        (held_out, "180 rows to train on"),
        (np.setdiff1d(range(200), held_out), "20 rows held"),
    ):
        with pytest.raises(
            ValueError, match=f"a weight above 0 in some of the {told}.*; got none: leave out"
        ):
            pf.tables.fit(frame, weights=np.isin(range(200), rows), epochs=1, progress=False)


def numbers():
    g = np.random.default_rng(0)
    a, b, c = g.normal(size=(3, 200))
    price, count = g.lognormal(2, 1, size=200).round(2) + 0.01, g.integers(1, 90, size=200)
    few = g.integers(1, 5, size=200)
    return {"a": a, "b": b, "c": c, "price": price, "count": count, "few": few}


RELATIONS = {
    "a sum": (("a", "b", "c"), lambda n: n["a"] - 3 * n["b"] + 7, "a, b, t are linearly dependent"),
    "single precision": (("a", "b"), lambda n: (n["a"] + n["b"]).astype("f"), "a, b, t are linearly"),
    "a sum with levels": (("a", "b", "few"), lambda n: n["a"] + n["few"], "a, few, t are linearly dependent"),
    "counts": (
        ("b", "count", "few"),
        lambda n: 0.7 * n["count"] + n["few"] / 3,
        "count, few, t are linearly",
    ),
    "a product": (
        ("a", "price", "count"),
        lambda n: (n["price"] * n["count"]).round(2),
        "price, count, t are dependent by a product",
    ),
}


@pytest.mark.parametrize(("names", "relation", "message"), RELATIONS.values(), ids=RELATIONS)
@pytest.mark.parametrize("given", [0, 2])
def test_sums_and_products_of_columns_have_no_density(names, relation, message, given):
    frame = pd.DataFrame({name: numbers()[name] for name in names} | {"t": relation(numbers())})
    frame.loc[::9, names[0]] = np.nan
    context, told = [*names[:given]], message.split(" are ")
    order = sorted(told[0].split(", "), key=lambda name: name in context)  # the context's come last
    with pytest.warns(UserWarning, match=f"no density, .*: columns {', '.join(order)} are {told[1]}"):
        pf.tables.fit(frame, context=context, epochs=1, progress=False)


def test_relations_that_leave_a_density_are_not_told():
    n = numbers()
    other = n["few"] * 20 + n["count"] % 7
    whole = pd.DataFrame({"count": n["count"], "other": other, "t": n["count"] + other, "a": n["a"]})
    pf.tables.fit(whole, epochs=1, progress=False)
    rounded = pd.DataFrame({"a": n["a"].round(2), "b": n["b"].round(2), "t": (n["a"] + n["b"]).round(2)})
    pf.tables.fit(rounded, epochs=1, progress=False)
    sentinels = pd.DataFrame({name: np.append(n[name], 1e12) for name in "abc"})
    pf.tables.fit(sentinels, epochs=1, progress=False)
    given = pd.DataFrame({"x": n["a"], "y": n["b"], "t": n["a"] + n["b"], "c": n["c"]})
    pf.tables.fit(given, context=["x", "y", "t"], epochs=1, progress=False)  # of the context all may be


def test_a_table_without_a_density_is_told():
    x = np.random.default_rng(0).normal(size=(2, 200))
    frame = pd.DataFrame({"x": x[0], "e": np.exp(-x[0]), "y": x[1], "n": np.arange(200)})
    with pytest.warns(UserWarning, match="no density, .*: columns x and e determine each other. Leave out"):
        pf.tables.fit(frame, epochs=1, progress=False)
    counts = np.arange(1, 201) ** 2
    whole = pd.DataFrame({"n": counts, "log n": np.log(counts), "m": -counts, "y": x[1]})
    with pytest.warns(UserWarning, match="columns n and log n determine each other; columns log n and m det"):
        pf.tables.fit(whole, epochs=1, progress=False)
    pf.tables.fit(whole[["n", "m", "y"]], epochs=1, progress=False)  # says nothing: whole numbers only
    twice = pd.concat([frame[["x", "y"]][:100]] * 2)
    with pytest.warns(UserWarning, match="no density, .*: 100 of 200 rows are copies of others in x, y"):
        pf.tables.fit(twice, epochs=1, progress=False)
    twice_discrete = pd.DataFrame({"n": [1, 2, 3, 3] * 50, "c": ["a", "b", "b", "a"] * 50})
    pf.tables.fit(twice_discrete, epochs=1, progress=False)  # says nothing
