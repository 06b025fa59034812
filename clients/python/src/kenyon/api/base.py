"""How a generated method becomes a request, and how its answer is read. Written by hand."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from ..events import JobEvent, job_events
from ..transport import Body, Reply, Transport

#: Seconds that a request may take beyond those for which the server waits with its answer.
MARGIN = 60.0


class Resource:
    """What the methods of all groups share. A method holds one call, ``"METHOD /path"`` as in the server's document."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def _reply(
        self,
        call: str,
        *path: object,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        data: Body | None = None,
        headers: Mapping[str, str | None] | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Sends the fields of ``body`` as JSON, or ``data`` as it is; fields, query and headers that are ``None`` are left out.

        ``path`` fills the braces of ``call`` in their order.
        """
        method, template = call.split(" ")
        parts = template.split("{")
        address = parts[0]
        for value, part in zip(path, parts[1:], strict=True):
            address += urllib.parse.quote(str(value), safe="") + part.split("}")[1]
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if body is not None:
            data = encoded_json({name: value for name, value in body.items() if value is not None})
            sent["Content-Type"] = "application/json"
        wait = (query or {}).get("wait")
        if timeout is None and wait is not None:
            timeout = wait + MARGIN
        return self.transport.request(
            method, address, query=query, body=data, headers=sent, repeatable=repeatable, timeout=timeout
        )

    def _json(self, call: str, *path: object, **options: Any) -> Any:
        return self._reply(call, *path, **options).json()

    def _text(self, call: str, *path: object, **options: Any) -> str:
        return self._reply(call, *path, **options).read().decode()

    def _done(self, call: str, *path: object, **options: Any) -> None:
        self._reply(call, *path, **options).read()

    def _lines(self, call: str, *path: object, **options: Any) -> Iterator[str]:
        return self._reply(call, *path, **options).lines()

    def _events(self, call: str, *path: object, **options: Any) -> Iterator[JobEvent]:
        return job_events(self._reply(call, *path, **options).lines())


def encoded_json(value: Any) -> bytes:
    """JSON as the server reads it: NaN and infinity are refused here, since JSON has none."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
