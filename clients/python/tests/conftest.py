"""A server for all tests, and data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from kenyon import Client, LocalServer

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    yield LocalServer.shared()


@pytest.fixture(scope="session")
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t{next(_NUMBERS)}"


def flowers(rows: int = 150, seed: int = 0) -> pd.DataFrame:
    """Numbers, a category, a missing value now and then, three classes that can be separated."""
    rng = np.random.default_rng(seed)
    kind = np.arange(rows) % 3
    frame = pd.DataFrame(
        {
            "length": np.round(np.array([1.5, 4.3, 5.5])[kind] + rng.normal(0, 0.2, rows), 2),
            "width": np.round(np.array([0.2, 1.3, 2.0])[kind] + rng.normal(0, 0.1, rows), 2),
            "place": np.array(["wood", "field", "shore"])[rng.integers(0, 3, rows)],
            "species": np.array(["setosa", "versicolor", "virginica"])[kind],
        }
    )
    frame.loc[rng.random(rows) < 0.05, "width"] = np.nan
    return frame


@pytest.fixture(scope="session")
def trained(client: Client) -> str:
    """The name of a model of flowers, and of its dataset."""
    client.train("flowers", "species", table=flowers(), family="sparse_mlp", seed=1)
    return "flowers"


@pytest.fixture(scope="session")
def stream(client: Client) -> str:
    """The name of a model that has observed flowers."""
    features = {"length": "number", "width": "number", "place": "category"}
    client.create_stream("stream", "species", features, task="classification")
    client.observe("stream", flowers())
    return "stream"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place of its own for MLflow's runs."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    mlflow.set_experiment("tests")
