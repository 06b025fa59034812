"""The client that people use: tables in, tables out, training that is waited for."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from . import frames, types
from .api import Api
from .errors import JobFailedError
from .frames import ReadOptions, Table
from .local import LocalServer
from .progress import ProgressOption
from .transport import CHUNK, Transport
from .waiting import wait_for

if TYPE_CHECKING:
    import pandas as pd

#: Rows that one predict or observe call carries; longer tables are sent in several.
ROWS_PER_CALL = 2_000
#: Rows that one call of a dataset's rows brings.
ROWS_PER_PAGE = 10_000
#: Bytes of an upload need this long at least: a slow disk, a large file.
UPLOAD_TIMEOUT = 3600.0


class Client:
    """A Kenyon server.

    Args:
        server: Its address; without one ``KENYON_SERVER``, else ``http://127.0.0.1:8080``. See :meth:`local` for a server
            of this program's own.
        key: API key; without one ``KENYON_KEY``.
        timeout: Seconds that the server may be silent.
        cacert: File with the certificate authority of a server with TLS, where it is not one of the system.

    Tables are pandas DataFrames, Arrow tables (anything with ``__arrow_c_stream__``, polars among them), lists of
    dictionaries, or paths of files. Errors of the server are exceptions, see :mod:`kenyon.errors`.

    Example:
        >>> client = kenyon.Client()  # doctest: +SKIP
        >>> client.upload("iris", frame)  # doctest: +SKIP
        >>> client.train("iris", "species")  # doctest: +SKIP
        >>> client.predict("iris", frame)  # doctest: +SKIP
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        cacert: str | os.PathLike[str] | None = None,
    ) -> None:
        url = server or os.environ.get("KENYON_SERVER") or "http://127.0.0.1:8080"
        context = ssl.create_default_context(cafile=os.fspath(cacert)) if cacert is not None else None
        self._transport = Transport(url, key=key or os.environ.get("KENYON_KEY"), timeout=timeout, context=context)
        #: The low-level client: every call of the interface.
        self.api = Api(self._transport)

    @classmethod
    def local(cls, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Client:
        """A client of this program's own server, which ends with the program; see :class:`LocalServer`."""
        client = cls(LocalServer.shared(data_dir).url, **options)
        return client

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

    # Datasets.

    def upload(self, name: str, table: Table, *, dry_run: bool = False, **read: Unpack[ReadOptions]) -> types.Dataset:
        """Creates or replaces a dataset; ``dry_run`` only says what would be found in it."""
        with frames.upload(table) as body:
            return self.api.put_dataset(
                name,
                body.data,
                content_type=body.content_type,
                content_encoding=body.content_encoding,
                dry_run=dry_run or None,
                timeout=UPLOAD_TIMEOUT,
                **read,
            )

    def append(self, name: str, table: Table, **read: Unpack[ReadOptions]) -> types.Appended:
        """Appends rows to a dataset, all or none."""
        with frames.upload(table) as body:
            return self.api.append_rows(
                name,
                body.data,
                content_type=body.content_type,
                content_encoding=body.content_encoding,
                timeout=UPLOAD_TIMEOUT,
                **read,
            )

    def datasets(self) -> list[types.Dataset]:
        """All datasets, by name."""
        return list(_pages(self.api.list_datasets))

    def dataset(self, name: str) -> types.Dataset:
        """One dataset with its schema, statistics and first rows."""
        return self.api.get_dataset(name)

    def rows(self, name: str, *, offset: int = 0, limit: int | None = None) -> pd.DataFrame:
        """Rows of a dataset; all of them without ``limit``."""
        found: list[types.Row] = []
        while limit is None or len(found) < limit:
            wanted = ROWS_PER_PAGE if limit is None else min(ROWS_PER_PAGE, limit - len(found))
            page = self.api.get_rows(name, offset=offset + len(found), limit=wanted)["rows"]
            found.extend(page)
            if len(page) < wanted:
                break
        return frames.frame(found)

    def delete_dataset(self, name: str) -> None:
        """Removes a dataset."""
        self.api.delete_dataset(name)

    # Training.

    def train(
        self,
        model: str,
        target: str,
        *,
        dataset: str | None = None,
        table: Table | None = None,
        wait: bool = True,
        progress: ProgressOption = None,
        timeout: float | None = None,
        **request: Any,
    ) -> types.Job:
        """Trains a model's next version.

        Args:
            model: Name of the model.
            target: Column to predict.
            dataset: Dataset to learn from; the model's name without one.
            table: Rows to upload under that name first.
            wait: Whether to wait for the end of the job; a job that fails is a :class:`JobFailedError`.
            progress: Whether to draw a bar, or a function to call with the job at each change.
            timeout: Seconds to wait at most; the job goes on after them (``TimeoutError``).
            **request: Further fields of :meth:`kenyon.api.Api.train`: ``family``, ``task``, ``features``, ``validation``,
                ``weight``, ``class_weights``, ``search``, ``config``, ``seed``, ``promote``, ``schema_change``, ….
        """
        name = dataset or model
        if table is not None:
            self.upload(name, table)
        job = self.api.train(model, dataset=name, target=target, idempotency_key=_key(), **request)
        return self.wait(job, progress=progress, timeout=timeout) if wait else job

    def plan_training(self, model: str, target: str, *, dataset: str | None = None, **request: Any) -> types.DryRun:
        """What :meth:`train` would do: task, family, columns, split, estimated time and memory."""
        return self.api.plan_training(model, dataset=dataset or model, target=target, **request)

    def wait(
        self, job: str | types.Job, *, progress: ProgressOption = None, timeout: float | None = None, check: bool = True
    ) -> types.Job:
        """Waits until a job has ended, and gives its last state; with ``check`` one that failed is an exception."""
        state = self.api.get_job(job) if isinstance(job, str) else job
        state = wait_for(self.api, state, progress=progress, timeout=timeout)
        if check and state["status"] != "succeeded":
            raise JobFailedError(state)
        return state

    def jobs(self, **which: Any) -> list[types.Job]:
        """Jobs, newest first; ``status``, ``model`` and ``kind`` choose."""
        return list(_pages(self.api.list_jobs, **which))

    def job(self, id: str) -> types.Job:
        """One job."""
        return self.api.get_job(id)

    def cancel(self, job: str | types.Job) -> types.Job:
        """Cancels a job."""
        return self.api.cancel_job(job if isinstance(job, str) else job["id"])

    # Models.

    def models(self) -> list[types.Model]:
        """All models, by name."""
        return list(_pages(self.api.list_models))

    def model(self, name: str) -> types.Model:
        """One model with its schema, versions, metrics, size and sparsity."""
        return self.api.get_model(name)

    def delete_model(self, name: str) -> None:
        """Removes a model with all it has learned."""
        self.api.delete_model(name)

    def versions(self, name: str, *, detail: bool | None = None) -> list[types.Version]:
        """Versions of a model, newest first; with ``detail`` also confusion, calibration and residuals of ``held_out``."""
        return self.api.versions(name, detail=detail)["items"]

    def promote(self, name: str, version: int) -> types.Model:
        """Serves this version at once."""
        return self.api.promote(name, version)

    def rollback(self, name: str) -> types.Model:
        """Serves the version that was served before."""
        return self.api.rollback(name)

    def predict_rows(self, model: str, table: Table, **options: Any) -> list[types.Prediction]:
        """Answers to a table as the server gives them; ``options`` are those of :meth:`kenyon.api.Api.predict`."""
        every = frames.rows(table)
        found: list[types.Prediction] = []
        for part in _parts(every):
            found.extend(self.api.predict(model, part, **options)["predictions"])
        return found

    def predict(self, model: str, table: Table, *, probabilities: bool = False, **options: Any) -> pd.DataFrame:
        """Answers to a table as a DataFrame with the same index.

        Classification has ``label``, ``probability``, with ``probabilities`` a column ``probability_<class>`` for each
        class, and with ``coverage=0.9`` a ``set``; regression has ``value``, and with ``coverage`` ``lower`` and ``upper``.
        Both have ``novelty`` and ``abstained``; ``prediction_id`` is for :meth:`feedback`.
        """
        if probabilities:
            options.setdefault("top_k", 1_000_000)
        answers = [_flat(answer, probabilities) for answer in self.predict_rows(model, table, **options)]
        return frames.frame(answers, index=frames.index_of(table))

    def explain(self, model: str, table: Table, **options: Any) -> pd.DataFrame:
        """Why each row was answered as it was: a line for each row and feature, the largest weights first.

        ``row`` is the row's index, ``answer`` its label or value, ``weight`` what the feature adds to it.
        """
        answers = self.predict_rows(model, table, explain=options.pop("explain", True), **options)
        index = frames.index_of(table)
        names = list(index) if index is not None else list(range(len(answers)))
        lines: list[dict[str, Any]] = []
        for name, answer in zip(names, answers, strict=True):
            said = answer.get("label", answer.get("value"))
            for feature in answer["explanation"]["features"]:
                lines.append({"row": name, "answer": said, "feature": feature["name"], **feature})
                del lines[-1]["name"]
        return frames.frame(lines, columns=None if lines else ["row", "answer", "feature", "weight"])

    def evaluate(self, model: str, data: str | Table) -> dict[str, Any]:
        """Metrics of the served version on a dataset (its name), or on a table, which is uploaded for the time of the call."""
        if isinstance(data, str):
            return self._evaluated(model, data)
        name = f"evaluate-{uuid.uuid4().hex}"
        self.upload(name, data)
        try:
            return self._evaluated(model, name)
        finally:
            self.api.delete_dataset(name)

    def _evaluated(self, model: str, dataset: str) -> dict[str, Any]:
        answer: dict[str, Any] = dict(self.api.evaluate(model, dataset))
        if "id" in answer and "status" in answer:
            # It takes longer than a request may.
            answer = dict(self.wait(answer["id"])["result"] or {})
        return answer

    # Streams.

    def create_stream(self, name: str, target: str, features: Mapping[str, Any], **request: Any) -> types.Model:
        """Makes an empty model that learns by :meth:`observe`; ``request`` may hold ``task``, ``classes``, ``config``."""
        return self.api.put_model(name, target=target, features=features, **request)

    def observe(self, model: str, table: Table) -> types.ObserveAnswer | None:
        """Learns from labelled rows now; ``None`` for an empty table. What was acknowledged is durable."""
        answer: types.ObserveAnswer | None = None
        total = 0
        for part in _parts(frames.rows(table)):
            answer = self.api.observe(model, part, idempotency_key=_key())
            total += answer["observed"]
        if answer is not None:
            answer["observed"] = total
        return answer

    def feedback(self, model: str, prediction_id: str, target: Any) -> types.ObserveAnswer:
        """Learns the late label of a prediction."""
        return self.api.feedback(model, prediction_id, frames.plain(target))

    def forget(self, model: str, **where: Any) -> types.ForgetAnswer:
        """Forgets every remembered row with these values: ``client.forget("m", patient="17")``."""
        return self.api.forget(model, where={name: frames.plain(value) for name, value in where.items()})

    # Models as files.

    def export(self, model: str, path: str | os.PathLike[str], *, version: int | None = None, format: Any = None) -> Path:
        """Writes a version (the served one) to a file: a bundle, or ``safetensors`` or ``onnx``."""
        target = Path(path)
        unfinished = target.with_name(target.name + ".part")
        with unfinished.open("wb") as file:
            for chunk in self.api.export_version(model, version or self._served(model), format=format).chunks(CHUNK):
                file.write(chunk)
        unfinished.replace(target)
        return target

    def export_bytes(self, model: str, *, version: int | None = None) -> bytes:
        """A version (the served one) as a bundle."""
        return self.api.export_version(model, version or self._served(model)).read()

    def import_model(self, model: str, bundle: str | os.PathLike[str] | bytes) -> types.ImportAnswer:
        """Brings an exported bundle to this server, as a new model or as the next version of one, and serves it."""
        if isinstance(bundle, bytes):
            return self.api.import_model(model, bundle, timeout=UPLOAD_TIMEOUT)
        with open(bundle, "rb") as file:
            return self.api.import_model(model, file, timeout=UPLOAD_TIMEOUT)

    def _served(self, model: str) -> int:
        version = self.api.get_model(model)["version"]
        if version is None:
            raise LookupError(f"{model} serves no version yet")
        return version

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"


def _key() -> str:
    """A key that lets a call be sent again without being done twice."""
    return uuid.uuid4().hex


def _parts(rows: list[types.Row]) -> Iterator[list[types.Row]]:
    for start in range(0, len(rows), ROWS_PER_CALL):
        yield rows[start : start + ROWS_PER_CALL]


def _pages(call: Callable[..., Any], **which: Any) -> Iterator[Any]:
    """All entries of a list, page by page."""
    cursor = None
    while True:
        page = call(cursor=cursor, **which)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _flat(answer: types.Prediction, probabilities: bool) -> dict[str, Any]:
    """An answer as the cells of a line."""
    flat: dict[str, Any] = dict(answer)
    each: Mapping[str, float] = flat.pop("probabilities", {})
    if probabilities:
        flat.update({f"probability_{name}": each[name] for name in sorted(each)})
    interval: Sequence[float] | None = flat.pop("interval", None)
    if interval is not None:
        flat["lower"], flat["upper"] = interval
    return flat
