"""The check that the client is current, on documents that differ from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
import generate


def document(answer: dict[str, Any], **schemas: Any) -> dict[str, Any]:
    """A document with one call and what it answers."""
    response = {"content": {"application/json": {"schema": answer}}}
    operation = {"operationId": "system", "responses": {"200": response}}
    return {"paths": {"/api/v1/system": {"get": operation}}, "components": {"schemas": schemas}}


def object_of(*required: str, optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**dict.fromkeys(required, {}), **(optional or {})}}


FIELDS = ["name", "version", "cores", "device", "database", "workers", "queue_depth", "uptime", "memory", "keys_required"]


def test_a_field_that_the_type_lacks_is_named() -> None:
    wrong = generate.check(document({"$ref": "#/components/schemas/System"}, System=object_of(*FIELDS, "load")), exact=False)
    assert wrong == ["GET /api/v1/system: System has no field 'load'"]


def test_a_field_that_the_document_lacks_is_named() -> None:
    wrong = generate.check(document(object_of(*FIELDS[1:])), exact=False)
    assert wrong == ["GET /api/v1/system: System has 'name', which the document does not"]


def test_fields_of_fields_are_compared() -> None:
    memory = {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Memory"}]}
    answer = object_of(*FIELDS[:-2], "keys_required", optional={"memory": memory})
    wrong = generate.check(document(answer, Memory=object_of("bytes")), exact=False)
    assert wrong == [
        "GET /api/v1/system: Memory has no field 'bytes'",
        "GET /api/v1/system: Memory has 'resident_bytes', which the document does not",
    ]


def test_what_a_document_leaves_open_is_no_difference() -> None:
    open_part = {"allOf": [{"type": "object"}, object_of("name")]}
    assert generate.check(document({"type": "object"}), exact=False) == []
    assert generate.check(document(open_part), exact=False) == []


def test_optional_fields_and_calls_of_other_servers_are_reported_on_request() -> None:
    answer = object_of(*FIELDS, optional={"gpu": {}})
    wrong = generate.check(document(answer), exact=True)
    assert "GET /api/v1/system: System has no optional field 'gpu'" in wrong
    assert "GET /livez: livez() calls what the document does not have" in wrong
