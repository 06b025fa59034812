"""The operations of the document as methods, a class for each group: ``kenyon.api``.

What an operation takes and answers decides the form of its method:

- Required fields of the request are arguments like the path's, all others are given by name.
- A body that is not JSON is ``data``, and is sent as it is.
- JSON answers are typed; texts, events and files are read as the base class has it.
- An operation that answers JSON or lines of it has a second method ``…_lines``, for bodies and answers of any length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .schemas import WIDTH, Json, described, docstring, hint, identifier, imports, literal, properties, resolve, union
from .special import FORMS, HEADERS_LEFT_OUT, PARAMETERS, REPEATABLE, SKIPPED, Form

JSON, LINES, EVENTS, BYTES = "application/json", "application/x-ndjson", "text/event-stream", "application/octet-stream"
API = [
    "Every call of the interface. :class:`kenyon.Client` is the comfortable form of it.",
    "Each method takes ``timeout``: seconds that the server may be silent, instead of those of the client.",
]
LINES_SUMMARY = "The answer is read line by line as it arrives"


def files(document: Json) -> Iterator[tuple[str, str]]:
    """Names and contents of the modules."""
    groups: dict[str, str] = {}
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb in ("get", "put", "post", "delete", "patch") and operation["operationId"] not in SKIPPED:
                tag = operation["tags"][0]
                shared = item.get("parameters", [])
                methods = Operation(document, f"{verb.upper()} {path}", operation, shared).methods()
                groups[tag] = groups.get(tag, "") + "".join(methods)
    classes = {tag: tag.capitalize() for tag in groups}
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    for tag, methods_text in groups.items():
        body = f"\n\nclass {classes[tag]}(Resource):\n{docstring([about[tag]], '    ')}{methods_text}"
        head = docstring([about[tag]], "") + "\nfrom __future__ import annotations\n\n"
        library = imports(body, {"collections.abc": ["Iterator", "Mapping", "Sequence"], "typing": ["Any", "Literal"]})
        own = "from .. import types\n" if "types." in body else ""
        own += imports(body, {"..events": ["JobEvent"], "..transport": ["Body", "Reply"], ".base": ["Resource"]})
        yield f"{tag}.py", head + library + ("\n" if library else "") + own + body
    text = docstring(["The low-level client: a method for each call of the server's interface, typed, with nothing added."], "")
    text += "\nfrom __future__ import annotations\n\n"
    text += "".join(f"from .{tag} import {classes[tag]}\n" for tag in sorted(groups))
    text += f'\n__all__ = ["Api"]\n\n\n{_call("class Api", sorted(classes.values()), ":", "")}\n'
    yield "__init__.py", text + docstring(API, "    ")


@dataclass
class Argument:
    """An argument of a method."""

    name: str
    hint: str
    description: str = ""
    default: str | None = None

    def written(self) -> str:
        """As it stands in the signature."""
        return f"{identifier(self.name)}: {self.hint}" + ("" if self.default is None else f" = {self.default}")


@dataclass
class Method:
    """What the text of a method is made of."""

    name: str
    paragraphs: list[str]
    answer: str
    #: The method of the base class that sends the request and reads the answer.
    sends: str
    arguments: list[Argument]
    options: list[Argument] = field(default_factory=list)
    #: Options of the request with their Python source, dictionaries by name.
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, str] | None = None
    data: bool = False
    repeatable: str = ""


class Operation:
    """A path and method of the document."""

    def __init__(self, document: Json, call: str, operation: Json, shared: list[Json]) -> None:
        self.call, self.id = call, operation["operationId"]
        self.paragraphs = [operation.get("summary", ""), operation.get("description", "")]
        parameters = [resolve(document, parameter) for parameter in [*shared, *operation.get("parameters", [])]]
        parameters = [p for p in parameters if p["name"].lower() not in HEADERS_LEFT_OUT]
        places = ("path", "query", "header")
        self.path, self.query, self.headers = ([p for p in parameters if p["in"] == place] for place in places)
        content = resolve(document, operation.get("requestBody", {})).get("content", {})
        self.fields, self.required = properties(document, content.get(JSON, {}).get("schema", {}))
        self.files = [kind for kind in content if kind != JSON]
        good = [resolve(document, answer) for status, answer in operation["responses"].items() if status.startswith("2")]
        self.answers = list(dict.fromkeys(kind for answer in good for kind in answer.get("content", {})))
        typed = [answer["content"][JSON]["schema"] for answer in good if JSON in answer.get("content", {})]
        self.answer = union(hint(schema, "types.") for schema in typed)

    def methods(self) -> Iterator[str]:
        """The text of each method."""
        for form in FORMS.get(self.id, [Form(self.id, self.answer)]):
            yield self.written(self.usual(form))
        if self.lines():
            yield self.written(self.line_by_line())

    def lines(self) -> bool:
        """Whether it has a second method for lines."""
        return JSON in self.answers and LINES in self.answers

    def usual(self, form: Form) -> Method:
        """The method with a JSON body and answer, where the operation has them."""
        sends, answer = self._answered(form.answer)
        method = Method(form.name, [form.summary] if form.summary else self.paragraphs, answer, sends, self._path())
        # Beside a JSON body with the same fields, the query is that of lines.
        if not (self.lines() and self.fields):
            self._add_query(method)
        if self.fields:
            method.body = {}
            for name, schema in self.fields.items():
                if name in form.fixed:
                    if form.fixed[name] is not None:
                        method.body[name] = literal(form.fixed[name])
                    continue
                self._add(method, name, schema, name in self.required)
                method.body[name] = identifier(name)
        elif self.files:
            self._add_data(method)
        self._add_headers(method)
        if self.answers == [EVENTS]:
            method.headers["Accept"] = literal(EVENTS)
        if self.id in REPEATABLE:
            method.repeatable = "True"
        elif "Idempotency-Key" in method.headers:
            method.repeatable = "idempotency_key is not None"
        return method

    def line_by_line(self) -> Method:
        """The method with a body and an answer of any length."""
        also = f"{LINES_SUMMARY}; the body may have any length." if self.files else f"{LINES_SUMMARY}."
        method = Method(f"{self.id}_lines", [*self.paragraphs, also], "Iterator[str]", "_lines", self._path())
        self._add_query(method)
        if self.files:
            self._add_data(method)
        kinds = [kind for kind in self.answers if kind != JSON]
        if len(kinds) > 1:
            accept = f"Literal[{', '.join(map(literal, kinds))}]"
            method.options.append(Argument("accept", accept, "What the lines are.", literal(LINES)))
        method.headers["Accept"] = "accept" if len(kinds) > 1 else literal(LINES)
        self._add_headers(method)
        return method

    def _answered(self, answer: str) -> tuple[str, str]:
        """The base class's method for the answer, and its type."""
        if not self.answers:
            return "_done", "None"
        if JSON in self.answers:
            return "_json", answer
        read = {EVENTS: ("_events", "Iterator[JobEvent]"), "text/plain": ("_text", "str")}
        return read.get(self.answers[0], ("_reply", "Reply"))

    def _path(self) -> list[Argument]:
        return [Argument(p["name"], hint(p["schema"]), p.get("description", "")) for p in self.path]

    def _add(self, method: Method, name: str, schema: Json, required: bool, description: str = "") -> None:
        kind = PARAMETERS.get(name) if schema.get("type") == "string" else None
        kind = kind or hint(schema, "types.", argument=True)
        text = description or described(schema)
        if required:
            method.arguments.append(Argument(name, kind, text))
        else:
            method.options.append(Argument(name, union([kind, "None"]), text, "None"))

    def _add_query(self, method: Method) -> None:
        for p in self.query:
            self._add(method, p["name"], p["schema"], p.get("required", False), p.get("description", ""))
            method.query[p["name"]] = identifier(p["name"])

    def _add_headers(self, method: Method) -> None:
        for p in self.headers:
            self._add(method, p["name"], p["schema"], False, p.get("description", ""))
            method.headers[p["name"]] = identifier(p["name"])

    def _add_data(self, method: Method) -> None:
        method.data = True
        method.arguments.append(Argument("data", "Body", "The body, which is sent as it is."))
        if len(self.files) == 1 and BYTES in self.files:
            method.headers["Content-Type"] = literal(BYTES)
            return
        # A server that takes bytes of any kind finds out what they are; else the first kind that it names is sent.
        first = "None" if BYTES in self.files else literal(LINES if LINES in self.files else self.files[0])
        kinds = f"What it is: {', '.join(f'`{kind}`' for kind in self.files)}."
        method.options.append(Argument("content_type", "str | None" if first == "None" else "str", kinds, first))
        method.options.append(Argument("content_encoding", "str | None", "How it is compressed: `gzip` or `zstd`.", "None"))
        method.headers["Content-Type"] = "content_type"
        method.headers["Content-Encoding"] = "content_encoding"

    def written(self, method: Method) -> str:
        """The text of a method."""
        arguments, options = method.arguments, [*method.options, Argument("timeout", "float | None", default="None")]
        names = [argument.name for argument in [*arguments, *options]]
        if len(set(names)) < len(names):
            raise NotImplementedError(f"{self.id}: two arguments have the same name: {names}")
        signature = ["self", *(a.written() for a in arguments), "*", *(o.written() for o in options)]
        text = "\n" + _call(f"    def {method.name}", signature, f" -> {method.answer}:", "    ") + "\n"
        items = [f"{identifier(a.name)}: {a.description}" for a in [*arguments, *options] if a.description]
        text += docstring(method.paragraphs, "        ", items)
        sent = [literal(self.call), *(identifier(p["name"]) for p in self.path)]
        sent += [_dictionary("query", method.query)] if method.query else []
        sent += [_dictionary("headers", method.headers)] if method.headers else []
        sent += [_dictionary("body", method.body)] if method.body is not None else []
        sent += ["data=data"] if method.data else []
        sent += [f"repeatable={method.repeatable}"] if method.repeatable else []
        sent += ["timeout=timeout"]
        before = {"_json": f"answer: {method.answer} = ", "_done": ""}.get(method.sends, "return ")
        text += _call(f"        {before}self.{method.sends}", sent, "", "        ") + "\n"
        return text + ("        return answer\n" if method.sends == "_json" else "")


def _dictionary(name: str, entries: dict[str, str]) -> str:
    """A dictionary as an argument of a call."""
    items = [f'"{field}": {value}' for field, value in entries.items()]
    line = f"{name}={{{', '.join(items)}}}"
    # It stands on a line of the call, with a comma behind it.
    if len(line) < WIDTH - 12:
        return line
    return f"{name}={{\n" + "".join(f"                {item},\n" for item in items) + "            }"


def _call(before: str, items: list[str], after: str, indent: str) -> str:
    """Something with items in parentheses, on one line where they fit."""
    line = f"{before}({', '.join(items)}){after}"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    return f"{before}(\n" + "".join(f"{indent}    {item},\n" for item in items) + f"{indent}){after}"
