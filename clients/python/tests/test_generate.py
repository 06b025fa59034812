"""The generator of the low-level client, on small documents."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from kenyon.api import Api
from kenyon.frames import ReadOptions

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent.parent))
import generate
from generator import schemas

DOCUMENT = ROOT / "tests/api/openapi.json"


def document(verb: str, path: str, operation: dict[str, Any], **components: Any) -> dict[str, Any]:
    """A document with one operation of the group ``jobs``."""
    whole = {"operationId": "act", "summary": "Acts.", "tags": ["jobs"], "responses": {"204": {}}, **operation}
    tags = [{"name": "jobs", "description": "Work."}]
    return {"tags": tags, "paths": {path: {verb: whole}}, "components": {"schemas": components}}


def api(verb: str, path: str, operation: dict[str, Any], **components: Any) -> str:
    """The source of the group ``jobs`` without its line ends and indents."""
    return " ".join(generate.generated(document(verb, path, operation, **components))["api/jobs.py"].split())


def of(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}


def parameter(place: str, name: str, kind: str = "string", required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": {"type": kind}}


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the package without its repository")
def test_the_client_is_that_of_the_repository() -> None:
    assert generate.check(generate.read(str(DOCUMENT))) == []


def test_the_options_of_an_upload_are_those_of_the_call() -> None:
    arguments = {*inspect.signature(Api.put_dataset).parameters}
    others = {"self", "name", "data", "dry_run", "content_type", "content_encoding", "timeout"}
    assert arguments - others == {*ReadOptions.__annotations__}


def test_what_differs_is_shown_as_a_difference() -> None:
    lines = generate.check(document("get", "/jobs", {}))
    assert "--- src/kenyon/api/jobs.py" in lines and "+    def act(self, *, timeout: float | None = None) -> None:" in lines
    assert any(line.startswith("-    def get_job(") for line in lines)


def test_required_arguments_come_first_and_others_by_name() -> None:
    body = {"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}, "from": {"type": ["integer", "null"]}}}
    parameters = [parameter("path", "id"), parameter("query", "at", "number"), parameter("header", "Idempotency-Key")]
    text = api("post", "/jobs/{id}", {"parameters": parameters, "requestBody": of("application/json", body)})
    wanted = "self, id: str, to: str, *, at: float | None = None, from_: int | None = None, idempotency_key: str | None = None"
    assert wanted in text
    assert '"POST /jobs/{id}", id, query={"at": at}, headers={"Idempotency-Key": idempotency_key}' in text
    assert 'body={"to": to, "from": from_}, repeatable=idempotency_key is not None' in text


@pytest.mark.parametrize(
    ("content", "answer", "method"),
    [
        (of("application/json", {"type": "array", "items": {"type": "integer"}}), "list[int]", "_json"),
        (of("text/plain", {"type": "string"}), "str", "_text"),
        (of("application/x-tar", {"type": "string"}), "Reply", "_reply"),
        (of("text/event-stream", {"type": "string"}), "Iterator[JobEvent]", "_events"),
        ({}, "None", "_done"),
    ],
)
def test_the_answer_decides_how_it_is_read(content: dict[str, Any], answer: str, method: str) -> None:
    text = api("get", "/jobs", {"responses": {"200": content}})
    assert f"-> {answer}:" in text and f"self.{method}(" in text


def test_files_are_sent_as_they_are_and_lines_are_read_as_they_arrive() -> None:
    kinds = {"application/json": {"schema": {"$ref": "#/components/schemas/Step"}}, "application/x-ndjson": {"schema": {}}}
    step = {"type": "object", "required": ["x"], "properties": {"x": {}}}
    text = api("post", "/jobs", {"requestBody": {"content": kinds}, "responses": {"200": {"content": kinds}}}, Step=step)
    assert "def act(self, x: Any, *, timeout: float | None = None) -> types.Step:" in text
    assert "def act_lines(" in text and "data: Body" in text and "-> Iterator[str]:" in text


def test_a_component_is_a_typed_dictionary_or_a_name() -> None:
    components = {
        "Long": {"allOf": [{"$ref": "#/components/schemas/Short"}, {"type": "object", "properties": {"b": {"type": "boolean"}}}]},
        "Short": {"type": "object", "description": "It is `short`.", "required": ["a"], "properties": {"a": {"type": "number"}}},
        "Word": {"type": "string", "enum": ["x", '"']},
        "Either": {"oneOf": [{"$ref": "#/components/schemas/Word"}, {"type": "array", "items": {"type": ["string", "null"]}}]},
    }
    text = generate.generated(document("get", "/jobs", {}, **components))["types/common.py"]
    names: dict[str, Any] = {"__name__": "common"}
    exec(compile(text, "common.py", "exec", dont_inherit=True), names)
    assert names["Long"].__required_keys__ == {"a"} and names["Long"].__optional_keys__ == {"b"}
    assert names["Short"].__doc__ == "It is ``short``."
    assert 'Either = Word | list[str | None]' in text and names["Word"].__args__ == ("x", '"')


@pytest.mark.parametrize("schema", [{"type": "object", "properties": {}, "additionalProperties": {}}, {"type": "object"}])
def test_an_open_object_is_a_dictionary(schema: dict[str, Any]) -> None:
    text = generate.generated(document("get", "/jobs", {}, Open=schema))["types/common.py"]
    assert "Open = dict[str, Any]" in text


def test_the_types_of_values() -> None:
    several = {"oneOf": [{"type": "null"}, {"enum": ["a", None]}, {"$ref": "#/components/schemas/A"}]}
    assert schemas.hint(several, "types.") == 'Literal["a"] | types.A | None'
    map_of_lists = json.loads('{"type": "object", "additionalProperties": {"type": "array", "items": {}}}')
    assert schemas.hint(map_of_lists, argument=True) == "Mapping[str, Sequence[Any]]"


def test_components_that_hold_themselves_are_refused() -> None:
    tree = {"type": "object", "properties": {"branches": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}
    with pytest.raises(NotImplementedError, match="Tree → Tree"):
        generate.generated(document("get", "/jobs", {}, Tree=tree))
