# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Training, prediction, learning from streams, versions and traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .. import types
from ..transport import Body, Reply
from .base import Resource


class Models(Resource):
    """Training, prediction, learning from streams, versions and traffic."""

    def list_models(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.ModelPage:
        """All models, by name.

        Args:
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before.
        """
        answer: types.ModelPage = self._json(
            "GET /api/v1/models",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def get_model(self, name: str, *, timeout: float | None = None) -> types.Model:
        """One model with its schema, versions, figures, size and sparsity.

        Args:
            name: Name of the model.
        """
        answer: types.Model = self._json("GET /api/v1/models/{name}", name, timeout=timeout)
        return answer

    def put_model(
        self,
        name: str,
        target: str,
        features: Mapping[str, types.FeatureSpec],
        *,
        family: str | None = None,
        task: types.Task | None = None,
        config: types.StreamSettings | None = None,
        classes: Sequence[types.Label] | None = None,
        timeout: float | None = None,
    ) -> types.Model:
        """Makes an empty model that learns only by observing.

        Args:
            name: Name of the model.
            target: Column to predict.
            features: A kind per column, or a group of columns.
            family: ``hybrid``, the family that learns row by row.
            task: ``classification`` or ``regression``; without it classification, unless the first label is no whole
                number: that is refused (``task_needed``).
            config: Settings; ``seed`` among them.
            classes: Classes in addition to those that are observed.
        """
        answer: types.Model = self._json(
            "PUT /api/v1/models/{name}",
            name,
            body={
                "family": family,
                "target": target,
                "task": task,
                "features": features,
                "config": config,
                "classes": classes,
            },
            timeout=timeout,
        )
        return answer

    def delete_model(self, name: str, *, timeout: float | None = None) -> None:
        """Removes the model with its versions and its stream.

        Args:
            name: Name of the model.
        """
        self._done("DELETE /api/v1/models/{name}", name, timeout=timeout)

    def activity(self, name: str, *, timeout: float | None = None) -> types.Activity:
        """Active share of the network, and the cost of a prediction.

        Args:
            name: Name of the model.
        """
        answer: types.Activity = self._json("GET /api/v1/models/{name}/activity", name, timeout=timeout)
        return answer

    def compare_versions(
        self,
        name: str,
        versions: str | Sequence[int],
        dataset: str,
        *,
        timeout: float | None = None,
    ) -> types.VersionComparison:
        """Compares two versions on the same rows, each figure with bounds of the difference. Rows that a cross-fitted
        version was trained on are answered by the members that have left them out; other versions have learned from
        most of theirs. Where both were trained with the same ``weight`` column and the dataset has it, rows count by
        it.

        Args:
            name: Name of the model.
            versions: Two versions by number, such as ``3,4``.
            dataset: A dataset with the model's columns and its target; of a large one the first 200,000 rows.
        """
        answer: types.VersionComparison = self._json(
            "GET /api/v1/models/{name}/compare",
            name,
            query={"versions": versions, "dataset": dataset},
            timeout=timeout,
        )
        return answer

    def consolidate(self, name: str, *, idempotency_key: str | None = None, timeout: float | None = None) -> types.Job:
        """Queues a consolidation of what was observed.

        Args:
            name: Name of the model.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.Job = self._json(
            "POST /api/v1/models/{name}/consolidate",
            name,
            headers={"Idempotency-Key": idempotency_key},
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def embed_rows(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        layer: str | None = None,
        sparse: bool | None = None,
        timeout: float | None = None,
    ) -> types.ModelEmbeddings:
        """The activity of a layer, by default the last before the readout, for each row: similar rows have similar codes.

        Args:
            name: Name of the model.
            rows: The rows, as for a prediction, 4096 at most.
            layer: A layer of ``/activity``, or ``features`` for the whole input of the readout; the last layer when
                missing.
            sparse: Whether only the units that are not zero are listed.
        """
        answer: types.ModelEmbeddings = self._json(
            "POST /api/v1/models/{name}/embed",
            name,
            body={"rows": rows, "layer": layer, "sparse": sparse},
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def evaluate(
        self,
        name: str,
        dataset: types.DatasetName,
        *,
        timeout: float | None = None,
    ) -> types.EvaluateAnswer | types.Job:
        """Metrics of the served version on a dataset that has its columns and its target.

        It is the version that is served when the request arrives. Where it was trained with a ``weight`` column that
        the dataset has too, rows count by it, as in the version's own metrics.

        Args:
            name: Name of the model.
            dataset: Its name.
        """
        answer: types.EvaluateAnswer | types.Job = self._json(
            "POST /api/v1/models/{name}/evaluate",
            name,
            body={"dataset": dataset},
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def feedback(
        self,
        name: str,
        prediction_id: str,
        target: types.Label,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.ObserveAnswer:
        """Learns the late label of a prediction.

        Args:
            name: Name of the model.
            prediction_id: The id from the answer of ``predict``.
            target: The true label.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.ObserveAnswer = self._json(
            "POST /api/v1/models/{name}/feedback",
            name,
            headers={"Idempotency-Key": idempotency_key},
            body={"prediction_id": prediction_id, "target": target},
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def forget(
        self,
        name: str,
        *,
        where: types.Filter | None = None,
        by_key: str | None = None,
        timeout: float | None = None,
    ) -> types.ForgetAnswer:
        """Forgets every row that matches, or that was learned from a key.

        The rows leave the log and the memory at once. The next consolidation, which is queued within a minute, computes
        the model's state again from the log without them: it is then that of a model that never received them.
        ``statement`` states this in words, and what is not covered.

        Args:
            name: Name of the model.
            where: A value per column, at least one; a row goes when it has all of them.
            by_key: The id of a key; one other than the caller's own needs the scope ``admin``.
        """
        answer: types.ForgetAnswer = self._json(
            "POST /api/v1/models/{name}/forget",
            name,
            body={"where": where, "by_key": by_key},
            timeout=timeout,
        )
        return answer

    def import_model(self, name: str, data: Body, *, timeout: float | None = None) -> types.ImportAnswer:
        """Imports an exported bundle, as a new model or as the next version of one, and serves it. Encoders in it are
        added where the server does not have them.

        Args:
            name: Name of the model.
            data: The body, which is sent as it is.
        """
        answer: types.ImportAnswer = self._json(
            "POST /api/v1/models/{name}/import",
            name,
            headers={"Content-Type": "application/octet-stream"},
            data=data,
            timeout=timeout,
        )
        return answer

    def importance(
        self,
        name: str,
        *,
        version: int | None = None,
        timeout: float | None = None,
    ) -> types.ImportanceAnswer:
        """How much each feature matters, measured on held-out rows when the version was trained (permutation importance).

        Args:
            name: Name of the model.
            version: A version of the model; the served one when missing.
        """
        answer: types.ImportanceAnswer = self._json(
            "GET /api/v1/models/{name}/importance",
            name,
            query={"version": version},
            timeout=timeout,
        )
        return answer

    def memory(
        self,
        name: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> types.MemoryAnswer:
        """Entries of the memory, oldest first.

        Args:
            name: Name of the model.
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before.
            label: Only entries of this class.
        """
        answer: types.MemoryAnswer = self._json(
            "GET /api/v1/models/{name}/memory",
            name,
            query={"limit": limit, "cursor": cursor, "label": label},
            timeout=timeout,
        )
        return answer

    def forget_entry(self, name: str, id: str, *, timeout: float | None = None) -> None:
        """Forgets one entry.

        Args:
            name: Name of the model.
            id: Id of the entry.
        """
        self._done("DELETE /api/v1/models/{name}/memory/{id}", name, id, timeout=timeout)

    def find_neighbors(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        k: int | None = None,
        timeout: float | None = None,
    ) -> types.NeighborsAnswer:
        """The nearest remembered rows: those that a stream keeps in its memory, or those that a ``memory`` model of a
        table stores.

        Args:
            name: Name of the model.
            rows: The rows, as for a prediction, 1024 at most.
            k: How many neighbours of each. Default: 5.
        """
        answer: types.NeighborsAnswer = self._json(
            "POST /api/v1/models/{name}/neighbors",
            name,
            body={"rows": rows, "k": k},
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def observe(
        self,
        name: str,
        rows: Sequence[types.Row],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.ObserveAnswer:
        """Learns from labelled rows now: JSON (``{"rows":[…]}``), or ``application/x-ndjson`` of any length.

        Args:
            name: Name of the model.
            rows: Objects with the model's features and its target.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.ObserveAnswer = self._json(
            "POST /api/v1/models/{name}/observe",
            name,
            headers={"Idempotency-Key": idempotency_key},
            body={"rows": rows},
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def observe_lines(
        self,
        name: str,
        data: Body,
        *,
        content_type: str = "application/x-ndjson",
        content_encoding: str | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """Learns from labelled rows now: JSON (``{"rows":[…]}``), or ``application/x-ndjson`` of any length.

        The answer is read line by line as it arrives; the body may have any length.

        Args:
            name: Name of the model.
            data: The body, which is sent as it is.
            content_type: What it is: ``application/x-ndjson``.
            content_encoding: How it is compressed: ``gzip`` or ``zstd``.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        return self._lines(
            "POST /api/v1/models/{name}/observe",
            name,
            headers={
                "Content-Type": content_type,
                "Content-Encoding": content_encoding,
                "Accept": "application/x-ndjson",
                "Idempotency-Key": idempotency_key,
            },
            data=data,
            timeout=timeout,
        )

    def predict(
        self,
        name: str,
        rows: Sequence[types.Row],
        *,
        top_k: int | None = None,
        coverage: float | None = None,
        allow_empty: bool | None = None,
        conditional: types.Conditional | None = None,
        novelty_level: float | None = None,
        explain: types.Explain | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> types.PredictAnswer:
        """Predicts rows.

        A body of CSV, NDJSON or Parquet may have any length. The answer is line by line, as NDJSON or, where ``Accept``
        prefers ``text/csv``, as CSV; a row that does not fit has a line with the reason, in its place, and the others
        are predicted. Options of such an answer are in the query; those of a JSON request are in its body, and a query
        is refused there.

        Args:
            name: Name of the model.
            rows: Objects with the model's features.
            top_k: Number of listed labels, most likely first.
            coverage: Coverage of ``set`` and ``interval``.
            allow_empty: Whether ``set`` may be empty; by default the likeliest class is always included.
            conditional: ``class`` for sets with that coverage among the rows of each class.
            novelty_level: Novelty above which an answer abstains; 0.99 by default.
            explain: Which explanations are requested.
            version: A version by number.
        """
        answer: types.PredictAnswer = self._json(
            "POST /api/v1/models/{name}/predict",
            name,
            body={
                "rows": rows,
                "top_k": top_k,
                "coverage": coverage,
                "allow_empty": allow_empty,
                "conditional": conditional,
                "novelty_level": novelty_level,
                "explain": explain,
                "version": version,
            },
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def predict_lines(
        self,
        name: str,
        data: Body,
        *,
        coverage: float | None = None,
        allow_empty: bool | None = None,
        conditional: Literal["class"] | None = None,
        novelty_level: float | None = None,
        top_k: int | None = None,
        explain: bool | None = None,
        embedding: Literal["dense", "sparse"] | None = None,
        layer: str | None = None,
        version: int | None = None,
        content_type: str = "application/x-ndjson",
        content_encoding: str | None = None,
        accept: Literal["application/x-ndjson", "text/csv"] = "application/x-ndjson",
        timeout: float | None = None,
    ) -> Iterator[str]:
        """Predicts rows.

        A body of CSV, NDJSON or Parquet may have any length. The answer is line by line, as NDJSON or, where ``Accept``
        prefers ``text/csv``, as CSV; a row that does not fit has a line with the reason, in its place, and the others
        are predicted. Options of such an answer are in the query; those of a JSON request are in its body, and a query
        is refused there.

        The answer is read line by line as it arrives; the body may have any length.

        Args:
            name: Name of the model.
            data: The body, which is sent as it is.
            coverage: Share of the time that ``set``, or ``lower`` and ``upper``, contain the truth; 0.9 when missing.
            allow_empty: Whether ``set`` may be empty; by default the likeliest class is always included.
            conditional: ``class`` for sets with that coverage among the rows of each class.
            novelty_level: Novelty above which the verdict on a row is ``unfamiliar``; 0.99 by default.
            top_k: Classes listed with their probabilities; none when missing.
            explain: Whether each answer is explained, which takes a few milliseconds a row.
            embedding: Adds the activity of a layer to each line (see ``POST …/embed``): ``dense``, or ``sparse``.
            layer: The layer of that activity; the last before the readout when missing.
            version: A version by number.
            content_type: What it is: ``application/vnd.apache.parquet``, ``application/x-ndjson``, ``text/csv``.
            content_encoding: How it is compressed: ``gzip`` or ``zstd``.
            accept: What the lines are.
        """
        return self._lines(
            "POST /api/v1/models/{name}/predict",
            name,
            query={
                "coverage": coverage,
                "allow_empty": allow_empty,
                "conditional": conditional,
                "novelty_level": novelty_level,
                "top_k": top_k,
                "explain": explain,
                "embedding": embedding,
                "layer": layer,
                "version": version,
            },
            headers={"Content-Type": content_type, "Content-Encoding": content_encoding, "Accept": accept},
            data=data,
            timeout=timeout,
        )

    def predict_batch(
        self,
        name: str,
        dataset: types.DatasetName,
        format: types.OutputFormat,
        *,
        coverage: float | None = None,
        allow_empty: bool | None = None,
        conditional: types.Conditional | None = None,
        novelty_level: float | None = None,
        top_k: int | None = None,
        explain: bool | None = None,
        embedding: types.EmbeddingForm | None = None,
        layer: str | None = None,
        engine: types.Engine | None = None,
        version: int | None = None,
        into: types.DatasetName | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.Job:
        """Queues a job that answers a whole dataset.

        Its output, ``GET /api/v1/jobs/{id}/output``, has the columns of the dataset and those of an answer in lines; a
        name that the dataset has already gets an underscore.

        Args:
            name: Name of the model.
            dataset: Its name.
            format: How the output is written.
            coverage: Share of the time that ``set``, or ``lower`` and ``upper``, are to hold the truth; 0.9 when
                missing.
            allow_empty: Whether ``set`` may be empty; by default the likeliest class is always included.
            conditional: ``class`` for sets with that coverage among the rows of each class.
            novelty_level: Novelty above which the verdict on a row is ``unfamiliar``; 0.99 by default.
            top_k: Classes listed with their probabilities; none when missing.
            explain: Whether each answer is explained, which takes a few milliseconds a row.
            embedding: Adds a column with the activity of a layer, as ``POST …/embed`` gives it.
            layer: The layer of that activity; the last before the readout when missing.
            engine: What computes the network: candle where the server has a device and the family has a use for it,
                else the kernels.
            version: The version that answers; the one that is served when missing.
            into: A dataset that the output becomes, too; one of that name is replaced.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.Job = self._json(
            "POST /api/v1/models/{name}/predict/batch",
            name,
            headers={"Idempotency-Key": idempotency_key},
            body={
                "dataset": dataset,
                "format": format,
                "coverage": coverage,
                "allow_empty": allow_empty,
                "conditional": conditional,
                "novelty_level": novelty_level,
                "top_k": top_k,
                "explain": explain,
                "embedding": embedding,
                "layer": layer,
                "engine": engine,
                "version": version,
                "into": into,
            },
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def rollback(self, name: str, *, timeout: float | None = None) -> types.Model:
        """Serves the version that was served before.

        Args:
            name: Name of the model.
        """
        answer: types.Model = self._json("POST /api/v1/models/{name}/rollback", name, timeout=timeout)
        return answer

    def stream(self, name: str, *, timeout: float | None = None) -> types.StreamAnswer:
        """Prequential figures, drift, consolidations.

        Args:
            name: Name of the model.
        """
        answer: types.StreamAnswer = self._json("GET /api/v1/models/{name}/stream", name, timeout=timeout)
        return answer

    def traffic(
        self,
        name: str,
        *,
        stable: int | None = None,
        canary: types.Canary | None = None,
        shadow: int | None = None,
        timeout: float | None = None,
    ) -> types.Model:
        """Splits the requests between versions.

        Args:
            name: Name of the model.
            stable: The version that is served.
            canary: A version that gets a share of the requests.
            shadow: A version that predicts without being answered from, for comparison.
        """
        answer: types.Model = self._json(
            "PUT /api/v1/models/{name}/traffic",
            name,
            body={"stable": stable, "canary": canary, "shadow": shadow},
            timeout=timeout,
        )
        return answer

    def train(
        self,
        name: str,
        dataset: types.DatasetName,
        target: str,
        *,
        wait: float | None = None,
        family: types.Family | None = None,
        task: types.Task | None = None,
        features: Mapping[str, types.FeatureSpec] | None = None,
        validation: types.HeldOutRows | None = None,
        seed: int | None = None,
        priority: int | None = None,
        config: types.TrainSettings | None = None,
        weight: str | None = None,
        class_weights: types.ClassWeighting | None = None,
        objective: types.Objective | None = None,
        search: types.SearchRequest | None = None,
        promote: bool | None = None,
        schema_change: bool | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.Job:
        """Queues a training: makes the model at the first call, its next version later.

        The version is served as soon as the job is seen as succeeded, unless ``served`` of the job is false, with the
        reason next to it. Where several replicas share a database, the others serve it within the time of a
        notification.

        Args:
            name: Name of the model.
            dataset: The dataset to train on.
            target: Column to predict.
            wait: Seconds to wait for the job's end; no longer than a request may take.
            family: Chosen from the data when missing.
            task: Inferred from the target when missing.
            features: How columns are to be read.
            validation: Which rows are held out; by the recipe when missing.
            seed: Everything random follows from it.
            priority: Higher runs first.
            config: Settings of the family and of training itself.
            weight: Column with the weight of each row; it is not learned from.
            class_weights: How much each class weighs.
            objective: Which class is named.
            search: Tries several configurations and trains the best in full.
            promote: Whether the version is served once it is ready. Default: true.
            schema_change: Whether the version may need other rows than the served one, or predict something else.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.Job = self._json(
            "POST /api/v1/models/{name}/train",
            name,
            query={"wait": wait},
            headers={"Idempotency-Key": idempotency_key},
            body={
                "dataset": dataset,
                "target": target,
                "family": family,
                "task": task,
                "features": features,
                "validation": validation,
                "seed": seed,
                "priority": priority,
                "config": config,
                "weight": weight,
                "class_weights": class_weights,
                "objective": objective,
                "search": search,
                "promote": promote,
                "schema_change": schema_change,
            },
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def plan_training(
        self,
        name: str,
        dataset: types.DatasetName,
        target: str,
        *,
        wait: float | None = None,
        family: types.Family | None = None,
        task: types.Task | None = None,
        features: Mapping[str, types.FeatureSpec] | None = None,
        validation: types.HeldOutRows | None = None,
        seed: int | None = None,
        priority: int | None = None,
        config: types.TrainSettings | None = None,
        weight: str | None = None,
        class_weights: types.ClassWeighting | None = None,
        objective: types.Objective | None = None,
        search: types.SearchRequest | None = None,
        promote: bool | None = None,
        schema_change: bool | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.DryRun:
        """What a training would do; nothing is queued.

        Args:
            name: Name of the model.
            dataset: The dataset to train on.
            target: Column to predict.
            wait: Seconds to wait for the job's end; no longer than a request may take.
            family: Chosen from the data when missing.
            task: Inferred from the target when missing.
            features: How columns are to be read.
            validation: Which rows are held out; by the recipe when missing.
            seed: Everything random follows from it.
            priority: Higher runs first.
            config: Settings of the family and of training itself.
            weight: Column with the weight of each row; it is not learned from.
            class_weights: How much each class weighs.
            objective: Which class is named.
            search: Tries several configurations and trains the best in full.
            promote: Whether the version is served once it is ready. Default: true.
            schema_change: Whether the version may need other rows than the served one, or predict something else.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.DryRun = self._json(
            "POST /api/v1/models/{name}/train",
            name,
            query={"wait": wait},
            headers={"Idempotency-Key": idempotency_key},
            body={
                "dataset": dataset,
                "target": target,
                "family": family,
                "task": task,
                "features": features,
                "validation": validation,
                "seed": seed,
                "priority": priority,
                "config": config,
                "weight": weight,
                "class_weights": class_weights,
                "objective": objective,
                "search": search,
                "promote": promote,
                "schema_change": schema_change,
                "dry_run": True,
            },
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def versions(
        self,
        name: str,
        *,
        detail: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.VersionPage:
        """Versions, newest first.

        Args:
            name: Name of the model.
            detail: Whether ``held_out`` has classes, confusion, recall, calibration and residuals, and ``warnings``
                have examples.
            limit: Taken as other lists take it; the page has all versions.
            cursor: There is none but the empty one.
        """
        answer: types.VersionPage = self._json(
            "GET /api/v1/models/{name}/versions",
            name,
            query={"detail": detail, "limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def export_version(
        self,
        name: str,
        version: int,
        *,
        format: str | None = None,
        inputs: str | None = None,
        encoder: bool | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Exports a version.

        Args:
            name: Name of the model.
            version: Number of the version.
            format: ``bundle`` (a tar archive, to be imported again), ``safetensors`` (the weights alone) or ``onnx``.
            inputs: What an ``onnx`` file takes: ``columns`` (the values of a row) or ``features`` (what the encoder
                makes of them).
            encoder: Whether a bundle contains the pretrained encoders that the version reads columns with; ``true``
                when missing.
        """
        return self._reply(
            "GET /api/v1/models/{name}/versions/{version}/export",
            name,
            version,
            query={"format": format, "inputs": inputs, "encoder": encoder},
            timeout=timeout,
        )

    def promote(self, name: str, version: int, *, timeout: float | None = None) -> types.Model:
        """Serves this version.

        Args:
            name: Name of the model.
            version: Number of the version.
        """
        answer: types.Model = self._json(
            "POST /api/v1/models/{name}/versions/{version}/promote",
            name,
            version,
            timeout=timeout,
        )
        return answer
