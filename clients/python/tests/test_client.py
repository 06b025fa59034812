"""The client: tables in every form, training that is waited for, answers as DataFrames, errors."""

from __future__ import annotations

import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import kenyon
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import flowers
from kenyon import Client, frames
from kenyon.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    JobFailedError,
    NotFoundError,
    UnprocessableError,
)

WIDE = pd.DataFrame(
    {
        "number": [1.5, np.nan, 3.0, 4.0],
        "whole": pd.array([1, None, 3, 4], dtype="Int64"),
        "truth": pd.array([True, False, None, True], dtype="boolean"),
        "word": pd.Categorical(["a", "b", "a", None]),
        "text": ["01", "NA", "true", "1e5"],
        "at": pd.to_datetime(["2024-01-01 00:00", "2024-02-01 12:30", None, "2024-03-01 00:00"]),
        "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.5]],
    },
    index=["p", "q", "r", "s"],
)
KINDS = {"number": "number", "whole": "number", "truth": "boolean", "word": "category", "at": "timestamp", "vector": "vector"}


@pytest.mark.parametrize("way", ["parquet", "lines of JSON", "Arrow", "rows"])
def test_a_table_keeps_its_values_whatever_the_way(client: Client, name: str, way: str, monkeypatch: Any) -> None:
    table: Any = WIDE
    if way == "lines of JSON":
        monkeypatch.setattr(frames, "_parquet", lambda _: None)
    elif way == "Arrow":
        table = pa.Table.from_pandas(WIDE, preserve_index=False)
    elif way == "rows":
        table = frames.rows(WIDE)
    dataset = client.upload(name, table)
    kinds = {column["name"]: column["kind"] for column in dataset["columns"]}
    assert {**kinds, **KINDS} == kinds
    assert {column["name"]: column["missing"] for column in dataset["columns"]} == {
        "number": 1, "whole": 1, "truth": 1, "word": 1, "text": 0, "at": 1, "vector": 0,
    }  # fmt: skip
    back = client.rows(name)
    assert list(back["text"]) == list(WIDE["text"])
    assert back["number"].tolist()[0] == 1.5 and np.isnan(back["number"][1])
    assert back["at"][1] == "2024-02-01T12:30:00Z" or back["at"][1].startswith("2024-02-01T12:30")
    assert [list(v) for v in back["vector"]] == list(WIDE["vector"])


def test_a_column_of_several_types_is_sent(client: Client, name: str) -> None:
    mixed = pd.DataFrame({"a": [1, "x", None, 2.5]}, dtype=object)
    assert client.upload(name, mixed)["rows"] == 4
    assert client.rows(name)["a"].tolist()[1] == "x"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "ndjson", "tsv"])
def test_files_are_sent_as_they_are(client: Client, name: str, ending: str, tmp_path: Path) -> None:
    frame = flowers(30)
    path = tmp_path / f"f.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "ndjson":
        frame.to_json(path, orient="records", lines=True)
    else:
        text = frame.to_csv(index=False, sep="\t" if ending == "tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    assert client.upload(name, path)["rows"] == 30
    assert client.append(name, str(path))["rows"] == 60
    pd.testing.assert_frame_equal(client.rows(name, limit=30), frame, check_dtype=False)


def test_how_a_file_is_read_can_be_said(client: Client, name: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a;b\n1,5;-\n2,5;3\n")
    found = client.upload(name, path, delimiter=";", decimal=",", missing=["-", "?"], dry_run=True)
    assert [(c["kind"], c["missing"]) for c in found["columns"]] == [("number", 0), ("number", 1)]
    with pytest.raises(NotFoundError):
        client.dataset(name)


def test_rows_come_page_by_page(client: Client, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(kenyon.client, "ROWS_PER_PAGE", 7)
    client.upload(name, pd.DataFrame({"i": range(20)}))
    assert client.rows(name)["i"].tolist() == list(range(20))
    assert client.rows(name, offset=3, limit=9)["i"].tolist() == list(range(3, 12))
    assert name in [dataset["name"] for dataset in client.datasets()]


def test_training_is_waited_for_and_watched(client: Client, name: str, capsys: Any) -> None:
    progress: list[str] = []
    frame = flowers()
    job = client.train(name, "species", table=frame, progress=lambda job: progress.append(job["status"]), seed=1)
    assert job["status"] == "succeeded" and progress[-1] == "succeeded" and job["served"]
    client.train(name, "species", progress=True, family="hybrid")
    assert "100%" in capsys.readouterr().err or "succeeded" in capsys.readouterr().err
    with pytest.raises(ConflictError, match="'place' is missing"):
        client.plan_training(name, "species", features={"place": "ignore"})
    plan = client.plan_training(name, "species", features={"place": "ignore"}, schema_change=True)
    assert {column["name"]: column["used"] for column in plan["columns"]}["place"] is False
    assert len(client.versions(name)) == 2 and client.model(name)["version"] == 2


def test_waiting_ends_in_time_and_failure_is_an_exception(client: Client, name: str) -> None:
    client.upload(name, flowers(600))
    config = {"epochs": 10_000, "early_stopping": 0}
    job = client.train(name, "species", wait=False, family="sparse_mlp", config=config)
    with pytest.raises(TimeoutError):
        client.wait(job["id"], timeout=0.5)
    client.cancel(job)
    with pytest.raises(JobFailedError, match="canceled"):
        client.wait(job)
    assert client.jobs(model=name, status="canceled")[0]["id"] == job["id"] == client.job(job["id"])["id"]


def test_answers_have_the_index_of_the_table(client: Client, trained: str) -> None:
    frame = flowers(60, seed=1).set_index(np.arange(100, 160))
    answers = client.predict(trained, frame, probabilities=True, coverage=0.9)
    assert (answers.index == frame.index).all()
    assert (answers["label"] == frame["species"]).mean() > 0.9
    each = answers[["probability_setosa", "probability_versicolor", "probability_virginica"]]
    assert np.allclose(each.sum(axis=1), 1) and np.allclose(each.max(axis=1), answers["probability"])
    assert np.mean([truth in found for truth, found in zip(frame["species"], answers["set"])]) > 0.8
    rows = client.predict_rows(trained, frames.rows(frame))
    assert [row["label"] for row in rows] == answers["label"].tolist()


def test_a_long_table_goes_in_parts(client: Client, trained: str, monkeypatch: Any) -> None:
    whole = client.predict(trained, flowers(50))
    monkeypatch.setattr(kenyon.client, "ROWS_PER_CALL", 7)
    pd.testing.assert_frame_equal(
        client.predict(trained, flowers(50)).drop(columns="prediction_id"), whole.drop(columns="prediction_id")
    )
    assert client.predict(trained, flowers(0)).empty


def test_numbers_are_predicted_with_bounds(client: Client, name: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=400), "z": rng.normal(size=400)})
    frame["y"] = 3 * frame["x"] + 100 + rng.normal(0, 0.1, 400)
    client.train(name, "y", table=frame[:300])
    test = frame[300:]
    answers = client.predict(name, test.drop(columns="y"), coverage=0.9)
    assert np.corrcoef(answers["value"], test["y"])[0, 1] > 0.95
    assert ((answers["lower"] <= answers["value"]) & (answers["value"] <= answers["upper"])).all()
    assert client.evaluate(name, test)["metrics"]["r2"] > 0.9


def test_reasons_are_a_table(client: Client, trained: str) -> None:
    frame = flowers(4).set_index(pd.Index(list("abcd")))
    reasons = client.explain(trained, frame)
    assert set(reasons["row"]) == set("abcd") and set(reasons["feature"]) <= {"length", "width", "place"}
    assert reasons["weight"].abs().max() > 0
    assert list(client.explain(trained, frame[:0]).columns) == ["row", "answer", "feature", "weight"]


def test_a_model_learns_from_a_stream(client: Client, name: str) -> None:
    client.create_stream(name, "species", {"length": "number", "width": "number"}, task="classification")
    with pytest.raises(ConflictError, match="not learned anything"):
        client.predict(name, flowers(1)[["length", "width"]])
    frame = flowers(300)[["length", "width", "species"]]
    observed = client.observe(name, frame)
    assert observed is not None and observed["observed"] == 300
    answers = client.predict(name, frame.drop(columns="species"))
    assert (answers["label"] == frame["species"]).mean() > 0.75
    assert client.feedback(name, answers["prediction_id"][0], "setosa")["observed"] == 1
    assert client.forget(name, species="setosa")["forgotten"] > 0
    assert client.observe(name, frame[:0]) is None


def test_a_model_travels_as_a_file(client: Client, trained: str, name: str, tmp_path: Path) -> None:
    path = client.export(trained, tmp_path / "m.kenyon")
    assert client.import_model(name, path)["version"] == 1
    assert client.import_model(name, path.read_bytes())["version"] == 2
    frame = flowers(20)
    before, after = (client.predict(m, frame)["probability"] for m in (trained, name))
    assert (before == after).all()
    assert client.export(trained, tmp_path / "m.onnx", format="onnx").stat().st_size > 100
    client.delete_model(name)
    assert name not in [model["name"] for model in client.models()]


def test_errors_say_what_and_where(client: Client, trained: str, name: str) -> None:
    with pytest.raises(UnprocessableError) as caught:
        client.predict(trained, [{"length": "long", "width": 1.0, "place": "wood"}])
    error = caught.value
    assert error.status == 422 and error.code == "bad_rows" and error.details[0]["column"] == "length"
    assert "column length" in str(error) and isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.details == error.details
    with pytest.raises(BadRequestError, match="unknown field"):
        client.plan_training(trained, "species", config={"speed": 3})
    with pytest.raises(UnprocessableError, match="no column"):
        client.train(trained, "height")
    with pytest.raises(NotFoundError, match="model_not_found"):
        client.predict(name, [{"a": 1}])
    with pytest.raises(ValueError, match="JSON"):
        client.predict(trained, pd.DataFrame({"length": [np.inf]}))
    with pytest.raises(ApiError) as broken:
        client.upload(name, b'{"a": 1}\n{"a": \n')
    assert broken.value.details[0]["row"] == 2
    with pytest.raises(TypeError):
        client.predict(trained, "flowers.csv")


def test_a_server_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ConnectionFailedError, match="127.0.0.1:9"):
        Client("127.0.0.1:9").models()
    with pytest.raises(ValueError, match="address"):
        Client("ftp://somewhere")


def test_a_body_of_any_length_is_sent_from_a_file(client: Client, name: str) -> None:
    text = "a,b\n" + "1,x\n2,y\n" * 50_000
    file = io.BytesIO(text.encode())
    assert client.api.put_dataset(name, file, content_type="text/csv")["rows"] == 100_000
    parts = (text[start : start + 10_000].encode() for start in range(0, len(text), 10_000))
    assert client.api.put_dataset(name, parts, content_type="text/csv")["rows"] == 100_000
