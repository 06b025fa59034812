# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Work in the background: trainings, batches, comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .. import types
from ..events import JobEvent
from ..transport import Reply
from .base import Resource


class Jobs(Resource):
    """Work in the background: trainings, batches, comparisons."""

    def list_jobs(
        self,
        *,
        status: Literal["queued", "running", "succeeded", "failed", "canceled"] | None = None,
        model: str | None = None,
        kind: Literal["train", "consolidate", "evaluate", "predict", "compare", "distill"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.JobPage:
        """Jobs, newest first.

        Args:
            status: Only these.
            model: Of this model.
            kind: Only of this kind.
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before.
        """
        answer: types.JobPage = self._json(
            "GET /api/v1/jobs",
            query={"status": status, "model": model, "kind": kind, "limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def get_job(self, id: str, *, timeout: float | None = None) -> types.Job:
        """One job.

        Args:
            id: Id of the job.
        """
        answer: types.Job = self._json("GET /api/v1/jobs/{id}", id, timeout=timeout)
        return answer

    def cancel_job(self, id: str, *, timeout: float | None = None) -> types.Job:
        """Ends a waiting job at once, a running one within a second. One that has ended stays as it is.

        Args:
            id: Id of the job.
        """
        answer: types.Job = self._json("POST /api/v1/jobs/{id}/cancel", id, repeatable=True, timeout=timeout)
        return answer

    def job_events(
        self,
        id: str,
        *,
        last_event_id: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[JobEvent]:
        """The job's events, as server-sent events, until it has ended.

        Events are ``status``, ``progress``, ``metric`` and ``log``. ``Last-Event-ID`` resumes after an event; when the
        job has ended and nothing is left, the answer is 204, after which a browser does not reconnect.

        Args:
            id: Id of the job.
            last_event_id: Number of the last event that was received.
        """
        return self._events(
            "GET /api/v1/jobs/{id}/events",
            id,
            headers={"Last-Event-ID": last_event_id, "Accept": "text/event-stream"},
            timeout=timeout,
        )

    def job_metrics(self, id: str, *, timeout: float | None = None) -> types.JobCurves:
        """The curves so far.

        Args:
            id: Id of the job.
        """
        answer: types.JobCurves = self._json("GET /api/v1/jobs/{id}/metrics", id, timeout=timeout)
        return answer

    def job_output(self, id: str, *, timeout: float | None = None) -> Reply:
        """The file that a job of the kind ``predict`` wrote.

        Args:
            id: Id of the job.
        """
        return self._reply("GET /api/v1/jobs/{id}/output", id, timeout=timeout)

    def retry_job(self, id: str, *, timeout: float | None = None) -> types.Job:
        """Queues a failed or cancelled job again.

        Args:
            id: Id of the job.
        """
        answer: types.Job = self._json("POST /api/v1/jobs/{id}/retry", id, timeout=timeout)
        return answer
