"""The server itself: health, keys, snapshots, encoders, comparisons with recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import types
from ..transport import Body, Reply
from .base import Resource, given


class SystemRoutes(Resource):
    """Probes, ``/api/v1/system``, ``/api/v1/keys``, ``/api/v1/audit``, ``/api/v1/snapshots``."""

    def livez(self) -> types.Health:
        """Whether the process lives."""
        return self._json(types.Health, "GET /livez")

    def readyz(self) -> types.Health:
        """Whether requests should be sent here."""
        return self._json(types.Health, "GET /readyz")

    def healthz(self) -> types.Health:
        """Whether database and object store answer."""
        return self._json(types.Health, "GET /healthz")

    def prometheus(self) -> str:
        """Metrics in the Prometheus text format."""
        return self._text("GET /metrics")

    def document(self) -> dict[str, Any]:
        """The interface's own document (OpenAPI 3.1)."""
        return self._json(dict[str, Any], "GET /openapi.json")

    def system(self) -> types.System:
        """The server and how it does."""
        return self._json(types.System, "GET /api/v1/system")

    def list_keys(self, *, limit: int | None = None, cursor: str | None = None) -> types.Keys:
        """All keys, without their secrets, on one page whatever the limit."""
        return self._json(types.Keys, "GET /api/v1/keys", query={"limit": limit, "cursor": cursor})

    def create_key(
        self,
        name: str,
        *,
        scopes: Sequence[types.Scope],
        models: Sequence[str] | None = None,
        expires_at: str | None = None,
    ) -> types.Key:
        """Makes a key. The answer is the only place where its secret is shown."""
        body = given(name=name, scopes=list(scopes), models=models, expires_at=expires_at)
        return self._json(types.Key, "POST /api/v1/keys", body=body)

    def delete_key(self, id: str) -> None:
        """Revokes a key at once."""
        self._done("DELETE /api/v1/keys/{id}", id)

    def list_audit(
        self, *, since: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> types.AuditPage:
        """Who changed what, when; the oldest first."""
        query = {"since": since, "limit": limit, "cursor": cursor}
        return self._json(types.AuditPage, "GET /api/v1/audit", query=query)

    def make_snapshot(self, *, timeout: float | None = None) -> types.Snapshot:
        """Makes a consistent copy of everything in one file on the server."""
        return self._json(types.Snapshot, "POST /api/v1/snapshots", timeout=timeout)

    def get_snapshot(self, name: str) -> Reply:
        """A snapshot as a file; read the reply's body in parts."""
        return self._reply("GET /api/v1/snapshots/{name}", name)


class Encoders(Resource):
    """``/api/v1/encoders``: pretrained networks for text and images."""

    def list_encoders(self, *, limit: int | None = None, cursor: str | None = None) -> types.Encoders:
        """All encoders, on one page whatever the limit."""
        return self._json(types.Encoders, "GET /api/v1/encoders", query={"limit": limit, "cursor": cursor})

    def get_encoder(self, name: str) -> types.Encoder:
        """One encoder with its architecture, width and digest."""
        return self._json(types.Encoder, "GET /api/v1/encoders/{name}", name)

    def put_encoder(
        self, name: str, data: Body, *, content_type: str = "application/x-tar", timeout: float | None = None
    ) -> types.Encoder:
        """Adds an encoder from a tar or zip of its folder."""
        headers = {"Content-Type": content_type}
        return self._json(
            types.Encoder, "PUT /api/v1/encoders/{name}", name, data=data, headers=headers, timeout=timeout
        )

    def delete_encoder(self, name: str) -> None:
        """Removes it; 409 while a model uses it."""
        self._done("DELETE /api/v1/encoders/{name}", name)

    def embed_inputs(self, name: str, inputs: Sequence[str]) -> types.EncoderEmbeddings:
        """Vectors of texts, or of images in base64."""
        body = {"inputs": list(inputs)}
        return self._json(
            types.EncoderEmbeddings, "POST /api/v1/encoders/{name}/embed", name, body=body, repeatable=True
        )

    def distill(
        self, name: str, *, dataset: str, column: str, into: str, idempotency_key: str | None = None
    ) -> types.Job:
        """Queues the making of a static encoder from a transformer."""
        body = {"dataset": dataset, "column": column, "into": into}
        headers = {"Idempotency-Key": idempotency_key}
        return self._json(types.Job, "POST /api/v1/encoders/{name}/distill", name, body=body, headers=headers)


class Comparisons(Resource):
    """``/api/v1/comparisons``: models beside neural recordings."""

    def list_comparisons(self, *, limit: int | None = None, cursor: str | None = None) -> types.ComparisonPage:
        """Comparisons, newest first."""
        return self._json(types.ComparisonPage, "GET /api/v1/comparisons", query=given(limit=limit, cursor=cursor))

    def create_comparison(
        self,
        *,
        systems: Sequence[Mapping[str, Any]],
        stimuli: str | None = None,
        condition: str | None = None,
        distance: str | None = None,
        compare: str | None = None,
        reference: str | None = None,
        bootstrap: Mapping[str, Any] | None = None,
        weighting: Sequence[str] | None = None,
        encoding: bool | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Queues a comparison; the job's id is the comparison's."""
        body = given(
            systems=list(systems),
            stimuli=stimuli,
            condition=condition,
            distance=distance,
            compare=compare,
            reference=reference,
            bootstrap=bootstrap,
            weighting=weighting,
            encoding=encoding,
        )
        return self._json(
            types.Job,
            "POST /api/v1/comparisons",
            body=body,
            headers={"Idempotency-Key": idempotency_key},
            repeatable=idempotency_key is not None,
        )

    def get_comparison(self, id: str, *, rdms: bool | None = None) -> types.Comparison:
        """What a comparison found; with its matrices, unless ``rdms`` is false."""
        return self._json(types.Comparison, "GET /api/v1/comparisons/{id}", id, query=given(rdms=rdms))

    def delete_comparison(self, id: str) -> None:
        """Removes a comparison that has ended."""
        self._done("DELETE /api/v1/comparisons/{id}", id)
