"""Server-sent events of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypedDict


class JobEvent(TypedDict):
    """Something that happened to a job: ``status``, ``progress``, ``metric`` or ``log``."""

    id: str
    event: str
    data: dict[str, Any]


def job_events(lines: Iterator[str]) -> Iterator[JobEvent]:
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
