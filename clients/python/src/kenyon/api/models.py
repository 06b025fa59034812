"""Models: training, answers, versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .. import types
from ..transport import Body, Reply
from .base import Resource, given

#: Seconds that a request may take beyond those the server is to wait.
MARGIN = 60.0


class Models(Resource):
    """``/api/v1/models``, ``/api/v1/families``."""

    def families(self, *, limit: int | None = None, cursor: str | None = None) -> types.Families:
        """Each family with its settings, defaults and limits as JSON Schema, on one page whatever the limit."""
        return self._json(types.Families, "GET /api/v1/families", query={"limit": limit, "cursor": cursor})

    def list_models(self, *, limit: int | None = None, cursor: str | None = None) -> types.ModelPage:
        """All models, by name."""
        return self._json(types.ModelPage, "GET /api/v1/models", query={"limit": limit, "cursor": cursor})

    def get_model(self, name: str) -> types.Model:
        """One model with its schema, versions, metrics, size and sparsity."""
        return self._json(types.Model, "GET /api/v1/models/{name}", name)

    def put_model(
        self,
        name: str,
        *,
        target: str,
        features: Mapping[str, Any],
        task: types.Task | None = None,
        classes: Sequence[Any] | None = None,
        config: Mapping[str, Any] | None = None,
        family: types.Family | None = None,
    ) -> types.Model:
        """Makes an empty model that learns only by ``observe``."""
        body = given(target=target, features=features, task=task, classes=classes, config=config, family=family)
        return self._json(types.Model, "PUT /api/v1/models/{name}", name, body=body)

    def delete_model(self, name: str) -> None:
        """Removes the model with all it has learned."""
        self._done("DELETE /api/v1/models/{name}", name)

    def train(
        self,
        name: str,
        *,
        dataset: str,
        target: str,
        family: types.Family | None = None,
        task: types.Task | None = None,
        features: Mapping[str, Any] | None = None,
        validation: float | Mapping[str, Any] | None = None,
        weight: str | None = None,
        class_weights: Literal["balanced"] | Mapping[str, float] | None = None,
        objective: Literal["accuracy", "balanced"] | None = None,
        promote: bool | None = None,
        schema_change: bool | None = None,
        search: Mapping[str, Any] | None = None,
        seed: int | None = None,
        priority: int | None = None,
        config: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Queues a training; with ``wait`` the answer comes when the job has ended, or after so many seconds."""
        body = given(
            dataset=dataset, target=target, family=family, task=task, features=features, validation=validation, weight=weight,
            class_weights=class_weights, objective=objective, promote=promote, schema_change=schema_change, search=search,
            seed=seed, priority=priority, config=config,
        )  # fmt: skip
        return self._json(
            types.Job,
            "POST /api/v1/models/{name}/train",
            name,
            query={"wait": wait},
            body=body,
            headers={"Idempotency-Key": idempotency_key},
            repeatable=idempotency_key is not None,
            timeout=None if wait is None else wait + MARGIN,
        )

    def plan_training(self, name: str, *, dataset: str, target: str, **request: Any) -> types.DryRun:
        """What a training would do (``dry_run``); takes the fields of :meth:`train`."""
        body = given(dataset=dataset, target=target, dry_run=True, **request)
        return self._json(types.DryRun, "POST /api/v1/models/{name}/train", name, body=body)

    def predict(
        self,
        name: str,
        rows: Sequence[types.Row],
        *,
        top_k: int | None = None,
        coverage: float | None = None,
        explain: types.Explain | None = None,
        version: int | None = None,
        allow_empty: bool | None = None,
        conditional: Literal["class"] | None = None,
        novelty_level: float | None = None,
    ) -> types.Predictions:
        """Answers rows."""
        body = given(
            rows=rows, top_k=top_k, coverage=coverage, explain=explain, version=version, allow_empty=allow_empty,
            conditional=conditional, novelty_level=novelty_level,
        )  # fmt: skip
        return self._json(types.Predictions, "POST /api/v1/models/{name}/predict", name, body=body, repeatable=True)

    def predict_file(
        self,
        name: str,
        data: Body,
        *,
        content_type: str,
        accept: Literal["application/x-ndjson", "text/csv"] = "application/x-ndjson",
        embedding: Literal["dense", "sparse"] | None = None,
        layer: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Iterator[str]:
        """Answers a CSV, NDJSON or Parquet body of any length; lines of the answer as they arrive.

        ``options`` are those of :meth:`predict`; ``embedding`` adds the activity of ``layer`` to each line.
        """
        query = {**options, "embedding": embedding, "layer": layer}
        headers = {"Content-Type": content_type, "Accept": accept}
        reply = self._reply(
            "POST /api/v1/models/{name}/predict", name, query=query, data=data, headers=headers, timeout=timeout
        )
        return reply.lines()

    def predict_batch(
        self,
        name: str,
        *,
        dataset: str,
        format: Literal["csv", "ndjson", "parquet"] | None = None,
        coverage: float | None = None,
        top_k: int | None = None,
        explain: types.Explain | None = None,
        version: int | None = None,
        into: str | None = None,
        allow_empty: bool | None = None,
        conditional: Literal["class"] | None = None,
        novelty_level: float | None = None,
        embedding: Literal["dense", "sparse"] | None = None,
        layer: str | None = None,
        engine: Literal["auto", "kernels", "candle"] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Queues the prediction of a whole dataset; ``job_output`` is the file."""
        body = given(
            dataset=dataset, format=format, coverage=coverage, top_k=top_k, explain=explain, version=version, into=into,
            allow_empty=allow_empty, conditional=conditional, novelty_level=novelty_level, embedding=embedding, layer=layer,
            engine=engine,
        )  # fmt: skip
        headers = {"Idempotency-Key": idempotency_key}
        return self._json(types.Job, "POST /api/v1/models/{name}/predict/batch", name, body=body, headers=headers)

    def embed(
        self, name: str, rows: Sequence[types.Row], *, layer: str | None = None, sparse: bool | None = None
    ) -> types.Embeddings:
        """Activations of a layer; by default the last before the readout."""
        body = given(rows=rows, layer=layer, sparse=sparse)
        return self._json(types.Embeddings, "POST /api/v1/models/{name}/embed", name, body=body, repeatable=True)

    def neighbors(self, name: str, rows: Sequence[types.Row], *, k: int | None = None) -> types.Neighbors:
        """The nearest remembered rows."""
        body = given(rows=rows, k=k)
        return self._json(types.Neighbors, "POST /api/v1/models/{name}/neighbors", name, body=body, repeatable=True)

    def importance(self, name: str, *, version: int | None = None) -> types.Importance:
        """How much each feature matters on held-out rows, by permutation; of the served version when none is named."""
        return self._json(types.Importance, "GET /api/v1/models/{name}/importance", name, query={"version": version})

    def compare(self, name: str, versions: Sequence[int], *, dataset: str | None = None) -> types.VersionComparison:
        """Two versions on the same rows."""
        query = {"versions": list(versions), "dataset": dataset}
        return self._json(types.VersionComparison, "GET /api/v1/models/{name}/compare", name, query=query)

    def evaluate(self, name: str, dataset: str) -> dict[str, Any]:
        """Metrics of the served version on a dataset; a job instead (with ``id``) when that takes long."""
        body = {"dataset": dataset}
        return self._json(dict[str, Any], "POST /api/v1/models/{name}/evaluate", name, body=body, repeatable=True)

    def activity(self, name: str) -> types.Activity:
        """Active share of each layer, and what a prediction costs."""
        return self._json(types.Activity, "GET /api/v1/models/{name}/activity", name)

    def versions(
        self, name: str, *, detail: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> types.Versions:
        """Versions, newest first, on one page whatever the limit; with ``detail`` also confusion, calibration and residuals of ``held_out``."""
        query = {"detail": detail, "limit": limit, "cursor": cursor}
        return self._json(types.Versions, "GET /api/v1/models/{name}/versions", name, query=query)

    def promote(self, name: str, version: int) -> types.Model:
        """Serves this version at once."""
        return self._json(types.Model, "POST /api/v1/models/{name}/versions/{version}/promote", name, version)

    def rollback(self, name: str) -> types.Model:
        """Serves the version that was served before."""
        return self._json(types.Model, "POST /api/v1/models/{name}/rollback", name)

    def traffic(
        self,
        name: str,
        *,
        stable: int | None = None,
        canary: types.Canary | None = None,
        shadow: int | None = None,
    ) -> types.Model:
        """Splits the requests between versions."""
        body = given(stable=stable, canary=canary, shadow=shadow)
        return self._json(types.Model, "PUT /api/v1/models/{name}/traffic", name, body=body)

    def export_version(
        self,
        name: str,
        version: int,
        *,
        format: Literal["bundle", "safetensors", "onnx"] | None = None,
        inputs: Literal["columns", "features"] | None = None,
        encoder: bool | None = None,
    ) -> Reply:
        """A version as a file; read the reply's body. ``inputs`` is what an ``onnx`` file takes."""
        query = {"format": format, "inputs": inputs, "encoder": encoder}
        return self._reply("GET /api/v1/models/{name}/versions/{version}/export", name, version, query=query)

    def import_model(self, name: str, data: Body, *, timeout: float | None = None) -> types.Imported:
        """Brings an exported bundle back and serves it."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._json(
            types.Imported, "POST /api/v1/models/{name}/import", name, data=data, headers=headers, timeout=timeout
        )
