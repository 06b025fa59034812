"""How a method of the interface becomes a request."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any, TypeVar

from ..transport import Body, Reply, Transport

T = TypeVar("T")

#: Content types of bodies with rows, by a file's ending.
CONTENT_TYPES = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "ndjson": "application/x-ndjson",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


class Resource:
    """What the methods of all resources share.

    Each public method holds one call, written ``"METHOD /path"`` as in the server's document: ``generate.py`` reads these to
    see whether the client is current.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def _reply(
        self,
        call: str,
        *path: object,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        data: Body | None = None,
        headers: Mapping[str, str | None] | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Sends ``body`` as JSON, or ``data`` as it is. ``path`` fills the braces of ``call`` in their order."""
        method, template = call.split(" ")
        parts = template.split("{")
        address = parts[0]
        for value, part in zip(path, parts[1:], strict=True):
            address += urllib.parse.quote(str(value), safe="") + part.split("}")[1]
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if body is not None:
            data = encoded_json(body)
            sent.setdefault("Content-Type", "application/json")
        return self.transport.request(
            method, address, query=query, body=data, headers=sent, repeatable=repeatable, timeout=timeout
        )

    def _json(self, kind: type[T], call: str, *path: object, **options: Any) -> T:
        """The answer as JSON; ``kind`` is its type, which is not checked when the program runs."""
        answer: T = self._reply(call, *path, **options).json()
        return answer

    def _text(self, call: str, *path: object, **options: Any) -> str:
        return self._reply(call, *path, **options).read().decode()

    def _done(self, call: str, *path: object, **options: Any) -> None:
        self._reply(call, *path, **options).read()


def encoded_json(value: Any) -> bytes:
    """JSON as the server reads it: NaN and infinity are refused here, since JSON has none."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not ``None``. A name that Python reserves is written with ``_`` behind it."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}
