"""The low-level client against the server: it is complete, and its types are true."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import kenyon.types as t
import pytest
from conforms import differences
from conftest import flowers
from kenyon import Client
from kenyon.errors import BadRequestError, NotFoundError
from kenyon.events import JobEvent

sys.path.insert(0, str(Path(__file__).parent.parent))
import generate


def document(client: Client) -> dict[str, Any]:
    return dict(client.api.description())


def right(value: Any, kind: Any) -> None:
    assert differences(value, kind) == []


def test_the_client_is_that_of_the_document(client: Client) -> None:
    assert generate.check(document(client)) == []


def test_a_document_that_has_more_is_noticed(client: Client) -> None:
    more = document(client)
    more["paths"]["/api/v1/new"] = {"get": {"operationId": "new", "tags": ["models"], "responses": {"204": {}}}}
    parameters = more["paths"]["/api/v1/models"]["get"]["parameters"]
    parameters.append({"name": "sort", "in": "query", "schema": {"type": "string"}})
    added = [line for line in generate.check(more) if line.startswith("+")]
    assert "+++ src/kenyon/api/models.py" in added
    assert "+        sort: str | None = None," in added
    assert "+    def new(self, *, timeout: float | None = None) -> None:" in added


def test_answers_about_data_are_as_typed(client: Client, trained: str, name: str) -> None:
    api = client.api
    lines = "\n".join(json.dumps(row) for row in [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}, {"a": None, "b": "x"}])
    right(api.put_dataset(name, lines.encode(), content_type="application/x-ndjson"), t.Dataset)
    right(api.put_dataset(name, b"a;b\n1,5;x\n2,5;y\n", content_type="text/csv", dry_run=True, decimal=","), t.Dataset)
    right(api.append_rows(name, b"a,b\n3,z\n", content_type="text/csv"), t.Appended)
    right(api.get_dataset(name), t.Dataset)
    right(api.list_datasets(limit=2), t.DatasetPage)
    rows = api.get_rows(name, offset=1, limit=2)
    right(rows, t.DatasetRows)
    assert rows["total"] == 4 and [row["b"] for row in rows["rows"]] == ["y", "x"]
    api.delete_dataset(name)
    with pytest.raises(NotFoundError):
        api.get_dataset(name)


def test_answers_about_models_are_as_typed(client: Client, trained: str) -> None:
    api = client.api
    right(api.families(), t.FamilyPage)
    right(api.list_models(limit=1), t.ModelPage)
    right(api.get_model(trained), t.Model)
    right(api.versions(trained), t.VersionPage)
    short, whole = (api.versions(trained, detail=detail)["items"][0]["held_out"] for detail in (False, True))
    assert short and not short["confusion"] and whole and whole["confusion"]
    right(api.activity(trained), t.Activity)
    right(api.plan_training(trained, dataset=trained, target="species", seed=3), t.DryRun)
    rows = flowers(3).drop(columns="species").fillna(1.0).to_dict("records")
    answer = api.predict(trained, rows, coverage=0.9, explain=True, top_k=2)
    right(answer, t.PredictAnswer)
    assert len(answer["predictions"]) == 3 and len(answer["predictions"][0]["probabilities"]) == 2
    (line,) = api.predict_lines(trained, b"length,width,place\n1.4,0.2,wood\n", content_type="text/csv")
    right(json.loads(line), t.LineAnswer)
    assert "accuracy" in api.evaluate(trained, trained)["metrics"]


def test_answers_about_jobs_are_as_typed(client: Client, trained: str) -> None:
    api = client.api
    page = api.list_jobs(model=trained, kind="train", status="succeeded", limit=1)
    right(page, t.JobPage)
    job = page["items"][0]
    right(api.get_job(job["id"]), t.Job)
    right(api.job_metrics(job["id"]), t.JobCurves)
    right(api.cancel_job(job["id"]), t.Job)
    events = list(api.job_events(job["id"]))
    assert {"status", "metric"} <= {event["event"] for event in events}
    right(events[0], JobEvent)
    assert list(api.job_events(job["id"], last_event_id=events[-1]["id"])) == []


def test_answers_about_streams_are_as_typed(client: Client, stream: str) -> None:
    api = client.api
    rows = [{"length": 1.4, "width": 0.2, "place": "wood", "species": "setosa"}]
    first = api.observe(stream, rows, idempotency_key="once")
    right(first, t.ObserveAnswer)
    assert api.observe(stream, rows, idempotency_key="once")["observed"] == first["observed"]
    lines = list(api.observe_lines(stream, (json.dumps(row).encode() + b"\n" for row in rows * 3)))
    right(json.loads(lines[-1]), t.ObserveAnswer)
    right(api.stream(stream), t.StreamAnswer)
    page = api.memory(stream, limit=2)
    right(page, t.MemoryAnswer)
    api.forget_entry(stream, page["items"][0]["id"])
    right(api.forget(stream, where={"place": "shore"}), t.ForgetAnswer)
    answer = api.predict(stream, [{"length": 5.4, "width": 2.1, "place": "wood"}])
    right(api.feedback(stream, answer["predictions"][0]["prediction_id"], "virginica"), t.ObserveAnswer)
    job = client.wait(api.consolidate(stream), check=False)
    right(job, t.Job)


def test_answers_about_the_server_are_as_typed(client: Client) -> None:
    api = client.api
    for probe in (api.livez, api.readyz, api.healthz):
        right(probe(), t.Health)
    right(api.system(), t.System)
    assert "kenyon" in api.prometheus()
    entries = [json.loads(line) for line in api.list_audit_lines()]
    right(entries[0], t.AuditEntry)
    snapshot = api.make_snapshot()
    right(snapshot, t.Snapshot)
    assert len(b"".join(api.get_snapshot(snapshot["name"]).chunks())) >= snapshot["bytes"]


def test_versions_are_switched(client: Client, name: str) -> None:
    client.upload(name, flowers())
    for seed in (1, 2):
        client.train(name, "species", family="hybrid", seed=seed)
    api = client.api
    right(api.promote(name, 1), t.Model)
    assert api.get_model(name)["version"] == 1
    assert api.rollback(name)["version"] == 2
    model = api.traffic(name, stable=1, canary={"version": 2, "weight": 0.5})
    right(model, t.Model)
    assert model["traffic"]["canary"] == {"version": 2, "weight": 0.5}
    bundle = api.export_version(name, 1, format="bundle").read()
    right(api.import_model(f"{name}-copy", bundle), t.ImportAnswer)
    api.delete_model(name)
    with pytest.raises(NotFoundError) as caught:
        api.get_model(name)
    assert caught.value.code == "model_not_found"


def test_the_inference_protocol(client: Client, trained: str) -> None:
    api = client.api
    assert api.v2_server()["name"] == "kenyon"
    assert api.v2_live()["live"] and api.v2_ready()["ready"] and api.v2_model_ready(trained)["ready"]
    assert trained in {entry["name"] for entry in api.v2_index()}
    names = {tensor["name"] for tensor in api.v2_model(trained)["inputs"]}
    assert names == {"length", "width", "place"} and api.v2_model_version(trained, "1")["name"] == trained
    assert api.v2_model_version_ready(trained, "1")["ready"]
    numbers: list[t.V2Input] = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in [("length", 1.4), ("width", 0.2)]
    ]
    inputs: list[t.V2Input] = [*numbers, {"name": "place", "shape": [1], "datatype": "BYTES", "data": ["wood"]}]
    for answer in (api.v2_infer(trained, inputs), api.v2_infer_version(trained, "1", inputs)):
        assert next(o for o in answer["outputs"] if o["name"] == "label")["data"] == ["setosa"]
    assert api.v2_stats(trained)["model_stats"] and api.v2_version_stats(trained, "1") and api.v2_all_stats()
    with pytest.raises(BadRequestError, match="expected a number"):
        api.v2_infer(trained, [{**numbers[0], "data": ["much"]}])


def test_a_job_is_cancelled_and_retried(client: Client, name: str) -> None:
    client.upload(name, flowers(600))
    config: t.TrainSettings = {"epochs": 10_000, "early_stopping": 0}
    job = client.api.train(name, dataset=name, target="species", family="sparse_mlp", config=config)
    right(job, t.Job)
    client.cancel(job)
    ended = client.wait(job, check=False)
    assert ended["status"] == "canceled"
    again = client.api.retry_job(job["id"])
    right(again, t.Job)
    begun = time.monotonic()
    client.cancel(again)
    assert client.wait(again, check=False)["status"] == "canceled" and time.monotonic() - begun < 10
