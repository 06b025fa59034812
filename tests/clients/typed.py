"""From a file to answers by the client that openapi-python-client makes of the document; checked by mypy --strict.

usage: typed.py URL KEY, with the generated package `kenyon_client` beside.
"""

import io
import sys

from kenyon_client import AuthenticatedClient
from kenyon_client.api.datasets import get_dataset, put_dataset
from kenyon_client.api.jobs import get_job
from kenyon_client.api.models import evaluate, get_model, list_models, observe, predict, predict_batch, train, versions
from kenyon_client.models import (
    BatchRequest,
    ColumnKind,
    Dataset,
    DryRun,
    ErrorCode,
    EvaluateAnswer,
    EvaluateRequest,
    Job,
    JobStatus,
    OutputFormat,
    Model,
    ModelPage,
    ObserveAnswer,
    ObserveRequest,
    PredictAnswer,
    PredictRequest,
    Problem,
    Row,
    Task,
    TrainRequest,
    VersionPage,
)
from kenyon_client.types import File, Unset


def rows(count: int) -> list[dict[str, float | str]]:
    """Two clouds of points."""
    out: list[dict[str, float | str]] = []
    for i in range(count):
        side = 1 if i % 2 else -1
        out.append({"x": side * 2 + (i * 7 % 17) / 17, "y": (i * 11 % 17) / 17, "label": "right" if i % 2 else "left"})
    return out


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key)
    text = "x,y,label\n" + "".join(f"{row['x']},{row['y']},{row['label']}\n" for row in rows(200))
    stored = put_dataset.sync("clouds", client=client, body=File(payload=io.BytesIO(text.encode())))
    assert isinstance(stored, Dataset) and stored.rows == 200 and stored.columns[0].kind is ColumnKind.NUMBER
    again = get_dataset.sync("clouds", client=client)
    assert isinstance(again, Dataset) and again.digest == stored.digest

    plan = train.sync("m", client=client, body=TrainRequest(dataset="clouds", target="label", dry_run=True))
    assert isinstance(plan, DryRun) and plan.task is Task.CLASSIFICATION and plan.split.training > 0
    job = train.sync("m", client=client, body=TrainRequest(dataset="clouds", target="label", seed=1), wait=60.0)
    assert isinstance(job, Job) and job.status is JobStatus.SUCCEEDED, job
    model = get_model.sync("m", client=client)
    assert isinstance(model, Model) and model.version == 1 and not isinstance(model.versions, Unset)
    listed = list_models.sync(client=client)
    assert isinstance(listed, ModelPage) and [m.name for m in listed.items] == ["m"]
    history = versions.sync("m", client=client)
    assert isinstance(history, VersionPage) and history.items[0].metrics.additional_properties["accuracy"]

    row = Row.from_dict({"x": 2.0, "y": 0.5})
    answer = predict.sync("m", client=client, body=PredictRequest(rows=[row], coverage=0.9, explain=True))
    assert isinstance(answer, PredictAnswer), answer
    prediction = answer.predictions[0]
    assert prediction.label == "right" and not isinstance(prediction.explanation, Unset)
    assert prediction.explanation.features[0].weight != 0
    measured = evaluate.sync("m", client=client, body=EvaluateRequest(dataset="clouds"))
    assert isinstance(measured, EvaluateAnswer) and measured.rows == 200

    taught = observe.sync("m", client=client, body=ObserveRequest(rows=[Row.from_dict(r) for r in rows(10)]))
    assert isinstance(taught, ObserveAnswer) and taught.observed == 10 and taught.prequential.rows == 10

    batch = predict_batch.sync("m", client=client, body=BatchRequest(dataset="clouds", format_=OutputFormat.CSV))
    assert isinstance(batch, Job), batch
    while batch.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        looked = get_job.sync(batch.id, client=client)
        assert isinstance(looked, Job), looked
        batch = looked
    assert batch.status is JobStatus.SUCCEEDED, batch
    output = client.get_httpx_client().get(f"/api/v1/jobs/{batch.id}/output").text
    assert len(output.splitlines()) == 201, output[:200]

    missing = get_model.sync("none", client=client)
    assert isinstance(missing, Problem) and missing.code is ErrorCode.MODEL_NOT_FOUND
    print("ok   the generated client, end to end")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
