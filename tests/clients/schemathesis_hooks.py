"""Media types unknown to schemathesis: bodies of bytes, answers of a JSON value a line, whose schema is that of a line, and events as text;
and what goes with which of them."""

import json

import schemathesis
from schemathesis.core.parameters import ParameterLocation


@schemathesis.serializer("application/x-tar", "application/zip", "application/vnd.apache.parquet")
def of_bytes(context, value):
    data = getattr(value, "data", value)
    return {"data": data if isinstance(data, bytes) else str(data).encode()}


@schemathesis.deserializer("application/x-ndjson")
def first_line(context, response):
    return json.loads(response.content.split(b"\n")[0])


@schemathesis.deserializer("text/event-stream")
def events(context, response):
    return response.text


@schemathesis.hook
def before_call(context, case, kwargs):
    """Beside JSON `predict` takes no query, which the document cannot express; wrong ones are refused in any case."""
    of_json = case.operation.path.endswith("/predict") and case.media_type == "application/json"
    if of_json and case.query and not (case.meta and case.meta.is_negative_at(ParameterLocation.QUERY)):
        case.query = {}
