"""The scikit-learn estimator."""

import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_dataframe_column_names_consistency, check_estimator

import pyro_flows as pf
from pyro_flows.sklearn import FlowDensity


def small(size, **options):
    """A family that is quick to train; a function of a module, so that it can be pickled."""
    return pf.nsf(size, depth=1, hidden=(8,), autoregressive=True, **options)


def quick(**options):
    return FlowDensity(small, **{"epochs": 2, "random_state": 0} | options)


def rows(count=80, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 3))
    x[:, 2] += x[:, 0]
    return x * [1.0, 10.0, 0.1] + [5.0, 0.0, -3.0]


def mixed(count=80, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(170, 10, count)
    kind = np.where(size > 170, "tall", "short")
    children = rng.poisson(2, count)
    weight = np.where(rng.random(count) < 0.2, np.nan, size - 100 + rng.normal(0, 5, count))
    return pd.DataFrame({"size": size, "kind": kind, "children": children, "weight": weight})


@pytest.mark.filterwarnings("ignore")  # some of the checks' tables have no density
def test_scikit_learns_own_checks():
    results = check_estimator(quick(epochs=1), on_skip=None)  # a failure raises
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # unless SCIPY_ARRAY_API is set
    assert sum(result["status"] == "passed" for result in results) == len(results) - len(skipped) > 40


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_check_of_column_names():
    check_dataframe_column_names_consistency("FlowDensity", quick(epochs=1))


def test_scores_are_those_of_the_flow():
    x = rows()
    model = quick().fit(x)
    scores = model.score_samples(x)
    assert (scores.shape, scores.dtype) == ((80,), np.float64)
    np.testing.assert_array_equal(scores, model.flow_().log_prob(x).detach().numpy())
    assert model.score(x) == scores.mean()
    assert len(model.history_.train_loss) == 2
    model = quick(epochs=60).fit(rows(400))
    assert model.score(rows(200, seed=1)) > quick(epochs=1).fit(rows(400)).score(rows(200, seed=1)) + 0.2


def test_a_frame_of_numbers_is_an_array():
    x = rows()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    model = quick().fit(frame)
    assert isinstance(model.flow_, pf.Flow)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(model.score_samples(frame), quick().fit(x).score_samples(x))


def test_tables():
    frame = mixed()
    model = quick().fit(frame)
    assert isinstance(model.flow_, pf.tables.TableFlow)
    np.testing.assert_array_equal(model.score_samples(frame), model.flow_.log_prob(frame).numpy())
    assert (model.n_features_in_, model.feature_names_in_.tolist()) == (4, list(frame.columns))
    drawn = model.sample(50, random_state=0)
    assert list(drawn.columns) == list(frame.columns)
    assert set(drawn["kind"]) == {"tall", "short"}
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    frame.loc[0, "kind"] = "huge"
    with pytest.warns(UserWarning, match="1 rows hold cells"):
        assert model.score_samples(frame)[0] == -np.inf


@pytest.mark.parametrize("convert", [pd.DataFrame.to_numpy, lambda f: f["size"], lambda f: f.values.tolist()])
def test_a_table_is_scored_by_data_frames(convert):
    model, given = quick(epochs=1).fit(mixed()), convert(mixed())
    with pytest.raises(TypeError, match=r"expected a table as a pandas\.DataFrame; got "):
        model.score_samples(given)


def test_kinds_make_a_table_of_numbers():
    frame = mixed()[["size", "children"]]
    assert isinstance(quick().fit(frame).flow_, pf.Flow)
    model = quick(kinds={"children": "categorical"}).fit(frame)
    assert [c.kind.name for c in model.flow_.schema.columns] == ["real", "categorical"]
    with pytest.raises(TypeError, match="expected a data frame, as kinds are given; got ndarray"):
        quick(kinds={}).fit(rows())


def test_samples_depend_on_the_seed_alone():
    model = quick().fit(rows())
    assert model.sample(5).shape == (5, 3)
    one, same, other = (model.sample(5, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert model.sample(np.int64(2)).shape == (2, 3)
    with pytest.raises(ValueError, match="n_samples == -1"):
        model.sample(-1)
    with pytest.raises(TypeError, match="n_samples must be an instance of int, not float"):
        model.sample(2.0)


def test_training_depends_on_the_seed_alone():
    x = rows()
    scores = [quick(random_state=seed).fit(x).score_samples(x) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize("data", [rows, mixed])
def test_rows_without_weight_are_left_out(data):
    frame = data()
    weights = np.r_[np.ones(50), np.zeros(30)]
    found = quick().fit(frame, sample_weight=weights)
    wanted = quick().fit(frame[:50], sample_weight=weights[:50])
    np.testing.assert_array_equal(found.score_samples(frame[:50]), wanted.score_samples(frame[:50]))


def test_clones_and_pickles():
    model = quick(learning_rate=0.01).fit(rows())
    new = clone(model)
    assert new.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        new.score_samples(rows())
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(rows()), model.score_samples(rows()))


def test_pipelines_searches_and_cross_validation():
    x = rows()
    pipeline = make_pipeline(StandardScaler(), quick(epochs=1))
    assert cross_val_score(pipeline, x, cv=2).shape == (2,)
    search = GridSearchCV(pipeline, {"flowdensity__epochs": [1, 30]}, cv=2, error_score="raise").fit(x)
    assert search.best_params_ == {"flowdensity__epochs": 30}
    assert np.isfinite(search.best_estimator_.score_samples(x)).all()
    assert search.best_estimator_[-1].sample(4).shape == (4, 3)
    assert cross_val_score(quick(epochs=1), mixed(), cv=2, error_score="raise").shape == (2,)
    chosen = ColumnTransformer([("scale", StandardScaler(), ["size", "children"])])
    assert make_pipeline(chosen, quick(epochs=1)).fit(mixed()).score(mixed()) < 0


@pytest.mark.parametrize(
    ("x", "weights", "match"),
    [
        (rows(1), None, "1 sample"),
        (rows(3), [1, 0, 0], "expected two rows at least whose weight is not zero; got 1"),
        (rows(3), [1, 1, -1], "expected a weight ≥ 0 for each of 3 rows"),
        (rows(3), [1, 1], "expected a weight ≥ 0 for each of 3 rows"),
        (np.full((5, 2), np.nan), None, "NaN"),
        (mixed(10).assign(id=[f"n{i}" for i in range(10)]).iloc[:0], None, "rows"),
    ],
)
def test_errors(x, weights, match):
    with pytest.raises(ValueError, match=match):
        quick().fit(x, sample_weight=weights)
