"""Media types unknown to schemathesis: bodies of bytes, answers of a JSON value a line, whose schema is that of a line, and events as text."""

import json

import schemathesis


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
