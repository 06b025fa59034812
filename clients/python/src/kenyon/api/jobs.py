"""Jobs: what waits, runs and has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .. import types
from ..transport import Reply
from .base import Resource


class Jobs(Resource):
    """``/api/v1/jobs``."""

    def list_jobs(
        self,
        *,
        status: types.JobStatus | None = None,
        model: str | None = None,
        kind: types.JobKind | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> types.JobPage:
        """Jobs, newest first."""
        query = {"status": status, "model": model, "kind": kind, "limit": limit, "cursor": cursor}
        return self._json(types.JobPage, "GET /api/v1/jobs", query=query)

    def get_job(self, id: str) -> types.Job:
        """One job."""
        return self._json(types.Job, "GET /api/v1/jobs/{id}", id)

    def cancel_job(self, id: str) -> types.Job:
        """Ends a waiting job at once, a running one within a second."""
        return self._json(types.Job, "POST /api/v1/jobs/{id}/cancel", id, repeatable=True)

    def retry_job(self, id: str) -> types.Job:
        """Queues a failed or cancelled job again."""
        return self._json(types.Job, "POST /api/v1/jobs/{id}/retry", id)

    def job_metrics(self, id: str) -> types.JobMetrics:
        """The curves so far."""
        return self._json(types.JobMetrics, "GET /api/v1/jobs/{id}/metrics", id)

    def job_output(self, id: str) -> Reply:
        """The file of a batch prediction; read the reply's body in parts."""
        return self._reply("GET /api/v1/jobs/{id}/output", id)

    def job_events(
        self, id: str, *, last_event_id: str | None = None, timeout: float | None = None
    ) -> Iterator[types.JobEvent]:
        """What happens to the job, until it has ended; ``last_event_id`` goes on after an event."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last_event_id}
        reply = self._reply("GET /api/v1/jobs/{id}/events", id, headers=headers, timeout=timeout)
        return _events(reply.lines())


def _events(lines: Iterator[str]) -> Iterator[types.JobEvent]:
    """Reads server-sent events: fields up to an empty line are an event, a line that begins with a colon is a comment."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
        elif "data" in fields:
            yield {
                "id": fields.get("id", ""),
                "event": fields.get("event", "message"),
                "data": json.loads(fields["data"]),
            }
            fields = {}
