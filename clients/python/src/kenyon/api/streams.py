"""Models that learn while they serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import types
from ..transport import Body
from .base import Resource, given


class Streams(Resource):
    """Observing, feedback, memory, forgetting."""

    def observe(self, name: str, rows: Sequence[types.Row], *, idempotency_key: str | None = None) -> types.Observed:
        """Learns from labelled rows now. The same ``idempotency_key`` never learns twice."""
        return self._json(
            types.Observed,
            "POST /api/v1/models/{name}/observe",
            name,
            body={"rows": rows},
            headers={"Idempotency-Key": idempotency_key},
            repeatable=idempotency_key is not None,
        )

    def observe_lines(
        self, name: str, data: Body, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> Iterator[str]:
        """Learns from lines of JSON of any number; figures as lines of JSON while it goes on."""
        headers = {
            "Content-Type": "application/x-ndjson",
            "Accept": "application/x-ndjson",
            "Idempotency-Key": idempotency_key,
        }
        reply = self._reply("POST /api/v1/models/{name}/observe", name, data=data, headers=headers, timeout=timeout)
        return reply.lines()

    def feedback(
        self, name: str, prediction_id: str, target: Any, *, idempotency_key: str | None = None
    ) -> types.Observed:
        """Learns the late label of a prediction."""
        body = {"prediction_id": prediction_id, "target": target}
        headers = {"Idempotency-Key": idempotency_key}
        return self._json(types.Observed, "POST /api/v1/models/{name}/feedback", name, body=body, headers=headers)

    def memory(
        self, name: str, *, limit: int | None = None, cursor: str | None = None, label: str | None = None
    ) -> types.MemoryPage:
        """What it remembers, oldest first."""
        query = {"limit": limit, "cursor": cursor, "label": label}
        return self._json(types.MemoryPage, "GET /api/v1/models/{name}/memory", name, query=query)

    def forget_entry(self, name: str, id: str) -> None:
        """Forgets one entry."""
        self._done("DELETE /api/v1/models/{name}/memory/{id}", name, id)

    def forget(
        self, name: str, *, where: Mapping[str, Any] | None = None, by_key: str | None = None
    ) -> types.Forgotten:
        """Forgets every entry that has these values, or that a key has taught."""
        body = given(where=where, by_key=by_key)
        return self._json(types.Forgotten, "POST /api/v1/models/{name}/forget", name, body=body)

    def stream(self, name: str) -> types.StreamReport:
        """Prequential figures, drift, consolidations."""
        return self._json(types.StreamReport, "GET /api/v1/models/{name}/stream", name)

    def consolidate(self, name: str, *, idempotency_key: str | None = None) -> types.Job:
        """Queues a consolidation of what was observed."""
        headers = {"Idempotency-Key": idempotency_key}
        return self._json(types.Job, "POST /api/v1/models/{name}/consolidate", name, headers=headers)
