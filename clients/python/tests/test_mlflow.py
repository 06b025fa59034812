"""MLflow: saved, logged and loaded, each time with the same answers."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import flowers
from kenyon import Client, KenyonClassifier
from kenyon import mlflow as flavour


@pytest.fixture
def table() -> pd.DataFrame:
    return flowers(40).drop(columns="species")


def test_a_served_model_is_saved_and_loaded(client: Client, trained: str, table: pd.DataFrame, tmp_path: Path) -> None:
    signature = mlflow.models.infer_signature(table)
    flavour.save_model((client, trained), tmp_path / "model", signature=signature, metadata={"from": "tests"})
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "MLmodel", "model.kenyon", "python_env.yaml", "requirements.txt",
    ]  # fmt: skip
    expected = client.predict(trained, table)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    answers = loaded.predict(table)
    assert answers["label"].tolist() == expected["label"].tolist()
    assert np.array_equal(answers["probability"], expected["probability"]) and "prediction_id" not in answers
    thin = flavour.load_model(tmp_path / "model")
    assert "probability_setosa" in thin.predict(table, {"probabilities": True})
    flavour.save_model(tmp_path / "model" / flavour.BUNDLE, tmp_path / "again")
    assert mlflow.pyfunc.load_model(str(tmp_path / "again")).predict(table)["label"].tolist() == answers["label"].tolist()


@pytest.mark.usefixtures("runs")
def test_an_estimator_is_logged() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    model = KenyonClassifier("hybrid").fit(X, (X[:, 0] > 0).astype(int))
    with mlflow.start_run():
        logged = flavour.log_model(model, name="flowers")
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    assert loaded.predict(X)["label"].tolist() == model.predict(X).tolist()
