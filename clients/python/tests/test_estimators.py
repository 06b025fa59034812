"""The estimators: scikit-learn's own checks, and what users do with them."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import flowers
from kenyon import Client, KenyonClassifier, KenyonRegressor, LocalServer
from kenyon.labels import Labels
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

EXPECTED = {
    # A row of weight 2 is one row: it is drawn once into the folds and mini-batches, and held out as a whole. The same row
    # written twice is drawn twice, and its copies may fall on both sides. Weights count alike in loss and figures, so the
    # models agree in what they estimate and differ in their random draws; 1e-7 is out of reach of any network trained so.
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn at random into folds and mini-batches",
}


@parametrize_with_checks(
    [KenyonClassifier(), KenyonRegressor()], expected_failed_checks=lambda estimator: EXPECTED
)  # type: ignore[untyped-decorator]
def test_what_scikit_learn_wants(estimator: Any, check: Any) -> None:
    check(estimator)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[str]]:
    return frame.drop(columns="species"), frame["species"]


def test_from_a_table_to_probabilities() -> None:
    X, y = split(flowers(200))
    model = KenyonClassifier().fit(X, y)
    new, truth = split(flowers(90, seed=5))
    found = model.predict_proba(new)
    assert found.shape == (90, 3) and np.allclose(found.sum(axis=1), 1)
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert list(model.feature_names_in_) == ["length", "width", "place"]
    assert model.score(new, truth) > 0.9
    assert (model.classes_[found.argmax(axis=1)] == model.predict(new)).all()
    assert np.allclose(np.exp(model.predict_log_proba(new)), found)
    sets = model.predict_set(new, coverage=0.9)
    assert np.mean([t in s for t, s in zip(truth, sets)]) > 0.8
    with pytest.raises(ValueError, match="feature names"):
        model.predict(new.rename(columns={"place": "spot"}))


def test_numbers() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = KenyonRegressor().fit(X[:342], y[:342])
    assert model.score(X[342:], y[342:]) > 0.3
    bounds = model.predict_interval(X[342:], coverage=0.9)
    assert bounds.shape == (100, 2) and 0.75 < ((bounds[:, 0] <= y[342:]) & (y[342:] <= bounds[:, 1])).mean()


@pytest.mark.parametrize(
    "classes",
    [[0, 1], [3, -7], [True, False], [1.0, 2.0], ["1", "1.0"], ["yes", "no"], [" a", "a"], ["A", "a"], ["é", "Straße x"], ["nan", "x"]],
)
def test_classes_come_back_as_they_were(classes: list[Any]) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = np.array(classes)[(X[:, 0] > 0).astype(int)]
    model = KenyonClassifier("hybrid").fit(X, y)
    found = model.predict(X)
    assert found.dtype == y.dtype and (found == y).mean() > 0.9


def test_class_names_are_kept_where_that_is_safe() -> None:
    assert Labels(np.array(["setosa", "virginica"])).names == ["setosa", "virginica"]
    assert Labels(np.array([0, 5])).names == [0, 5]
    assert Labels(np.array(["01", "1"])).names == ["class_0", "class_1"]
    assert Labels(np.array([0.0, 1.0])).names == ["class_0", "class_1"]


def test_weights_matter() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 1))
    y = rng.integers(0, 2, 300)
    heavy = KenyonClassifier("sparse_mlp").fit(X, y, sample_weight=np.where(y == 1, 20.0, 1.0))
    light = KenyonClassifier("sparse_mlp").fit(X, y, sample_weight=np.where(y == 1, 1.0, 20.0))
    assert heavy.predict_proba(X)[:, 1].mean() > 0.8 > 0.2 > light.predict_proba(X)[:, 1].mean()
    by_class = KenyonClassifier("sparse_mlp", class_weight={0: 1.0, 1: 20.0}).fit(X, y)
    assert by_class.predict_proba(X)[:, 1].mean() > 0.8
    rare = np.arange(300) % 10 == 0
    balanced = KenyonClassifier("sparse_mlp", class_weight="balanced").fit(X, rare)
    assert balanced.predict_proba(X)[:, 1].mean() > 0.3 > KenyonClassifier("sparse_mlp").fit(X, rare).predict_proba(X)[:, 1].mean()
    with pytest.raises(ValueError, match="[Nn]egative"):
        KenyonClassifier().fit(X, y, sample_weight=-np.ones(300))


def test_it_goes_on_learning() -> None:
    X, y = split(flowers(300))
    model = KenyonClassifier()
    for start in range(0, 300, 50):
        part = slice(start, start + 50)
        model.partial_fit(X[part], y[part], classes=["setosa", "versicolor", "virginica"])
    assert model.score(X, y) > 0.75
    with pytest.raises(ValueError, match="not in classes_"):
        model.partial_fit(X[:1], ["rosa"])
    trained = KenyonClassifier("hybrid").fit(X[:150], y[:150])
    before = trained.predict_proba(X[:5])
    trained.partial_fit(X[150:], y[150:])
    assert trained.score(X, y) > 0.75 and not np.array_equal(before, trained.predict_proba(X[:5]))
    values = np.random.default_rng(0).normal(size=(400, 2))
    numbers = KenyonRegressor().partial_fit(values[:300], 3 * values[:300, 0] + 50)
    assert np.corrcoef(numbers.predict(values[300:]), values[300:, 0])[0, 1] > 0.8


def test_a_pickle_answers_the_same_in_another_program(tmp_path: Path) -> None:
    X, y = split(flowers(150))
    model = KenyonClassifier("sparse_mlp").fit(X, y)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    X.to_parquet(tmp_path / "x.parquet")
    code = "import pickle, pandas, numpy; m = pickle.load(open('model.pickle', 'rb'));"
    code += "numpy.save('p.npy', m.predict_proba(pandas.read_parquet('x.parquet')))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "p.npy"), model.predict_proba(X))
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_model_goes_when_its_estimator_goes(client: Client) -> None:
    X, y = split(flowers(90))
    gc.collect()
    before = len(client.models()), len(client.datasets())
    model = KenyonClassifier("hybrid").fit(X, y)
    name = model.served_model_.name
    assert client.model(name)["version"] == 1 and len(client.datasets()) == before[1]
    model.fit(X, y)
    assert len(client.models()) == before[0] + 1
    del model
    assert (len(client.models()), len(client.datasets())) == before
    with pytest.raises(ValueError, match="cannot learn"):
        KenyonClassifier("hybrid").fit(X[["length"]] * 0, y)
    assert (len(client.models()), len(client.datasets())) == before


def test_an_interrupted_fit_leaves_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = split(flowers(300))
    gc.collect()
    before = len(client.models()), len(client.datasets())
    wait = Client.wait
    checks: list[bool] = []

    def interrupted(self: Client, *args: Any, **options: Any) -> Any:
        checks.append(options.get("check", True))
        if checks[-1]:
            raise KeyboardInterrupt
        return wait(self, *args, **options)

    monkeypatch.setattr(Client, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        KenyonClassifier("sparse_mlp", config={"epochs": 10_000, "early_stopping": 0}).fit(X, y)
    assert (len(client.models()), len(client.datasets())) == before and checks == [True, False]
    assert client.jobs(status="running") == []


def test_a_named_model_stays_on_the_given_server(server: LocalServer, client: Client, name: str) -> None:
    X, y = split(flowers(90))
    first = KenyonClassifier("hybrid", server=server.url, model=name).fit(X, y)
    before = first.predict_proba(X)
    second = clone(first).set_params(random_state=3).fit(X[["length", "place"]], y)
    assert [version["version"] for version in client.versions(name)] == [2, 1]
    # Each estimator is answered by its own version.
    assert np.array_equal(first.predict_proba(X), before) and second.n_features_in_ == 2
    del first, second
    assert client.model(name)["version"] == 2


def test_it_works_in_pipelines_and_searches() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    assert make_pipeline(StandardScaler(), KenyonClassifier("hybrid")).fit(X, y).score(X, y) > 0.9
    assert cross_val_score(KenyonClassifier("hybrid"), X, y, cv=3).mean() > 0.8
    search = GridSearchCV(KenyonClassifier(), {"family": ["hybrid", "sparse_mlp"]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.8


def test_an_estimator_writes_its_bundle(client: Client, name: str, tmp_path: Path) -> None:
    X, y = split(flowers(90))
    model = KenyonClassifier("hybrid").fit(X, y)
    model.export(tmp_path / "m.kenyon")
    client.import_model(name, tmp_path / "m.kenyon")
    assert client.predict(name, X)["label"].tolist() == model.predict(X).tolist()
