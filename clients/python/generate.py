"""Compares the low-level client with the document of a server, and drafts what is missing.

    python generate.py check DOCUMENT [--exact]    # what is missing or different; fails if anything is
    python generate.py draft DOCUMENT              # methods for what is missing, to be put into src/kenyon/api
    python generate.py draft DOCUMENT NAME…        # typed dictionaries of components, to be put into src/kenyon/types

DOCUMENT is the file or the address of an ``openapi.json``. ``check`` wants a method for each path and method of the document
with each of its query parameters, request fields and headers, and in each typed answer every field that is promised.
``--exact`` also reports methods and fields that the document does not have (those of a newer or an older server).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import typing
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from kenyon import types  # noqa: E402

#: Pages for people, and a protocol that has clients of its own.
PAGES = re.compile(r"/$|/docs|/mcp$")

#: Headers of bodies that the low-level client does not send; the last one is of raw tensors.
OF_BODIES = ("accept", "content-type", "inference-header-content-length")

Json = dict[str, Any]


@dataclass
class Method:
    """A method of the low-level client."""

    name: str
    call: str
    arguments: set[str]
    answer: str
    open: bool


@dataclass
class Operation:
    """A path and method of the document."""

    call: str
    id: str
    description: str
    query: list[str]
    fields: list[str]
    headers: list[str]
    path: list[str]
    answer: Json | None


def methods() -> list[Method]:
    """The methods of the client, read from its source."""
    found = []
    for file in sorted((HERE / "src/kenyon/api").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                call = next((c for c in map(_call, ast.walk(node)) if c), None)
                if call is not None:
                    arguments = {argument.arg.rstrip("_") for argument in [*node.args.args, *node.args.kwonlyargs]}
                    if node.args.kwarg and "ReadOptions" in ast.unparse(node.args.kwarg.annotation or ast.Constant(0)):
                        arguments |= set(_read_options())
                    answer = ast.unparse(node.returns) if node.returns else ""
                    found.append(Method(node.name, call, arguments, answer, open=node.args.kwarg is not None))
    return found


def _call(node: ast.AST) -> str | None:
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) and re.fullmatch(r"(GET|PUT|POST|DELETE) /\S*", text) else None


def _read_options() -> list[str]:
    from kenyon.api import ReadOptions

    return list(ReadOptions.__annotations__)


def operations(document: Json) -> Iterator[Operation]:
    """The operations of the document that programs call."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in ("get", "put", "post", "delete") or PAGES.search(path):
                continue
            parameters = [resolve(document, p) for p in [*item.get("parameters", []), *operation.get("parameters", [])]]
            named = {kind: [p["name"] for p in parameters if p["in"] == kind] for kind in ("query", "header", "path")}
            content = resolve(document, operation.get("requestBody", {})).get("content", {})
            body = flattened(document, content.get("application/json", {}).get("schema", {}))
            good: Json = next((r for status, r in operation["responses"].items() if status.startswith("2")), {})
            answer = resolve(document, good).get("content", {}).get("application/json", {}).get("schema")
            yield Operation(
                call=f"{method.upper()} {path}",
                id=operation.get("operationId", ""),
                description=operation.get("summary") or operation.get("description", "").split("\n")[0],
                query=named["query"],
                fields=[] if path.startswith("/v2") else list(body.get("properties", {})),
                headers=[name for name in named["header"] if name.lower() not in OF_BODIES],
                path=named["path"],
                answer=flattened(document, answer) if answer else None,
            )


def resolve(document: Json, schema: Json) -> Json:
    """Follows a reference."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema


def flattened(document: Json, schema: Json) -> Json:
    """A schema with the properties of all its parts (``allOf``); of alternatives, those that all have are required."""
    schema = resolve(document, schema)
    properties, required = dict(schema.get("properties", {})), set(schema.get("required", []))
    for part in schema.get("allOf", []):
        part = flattened(document, part)
        properties |= part["properties"]
        required |= set(part["required"])
    alternatives = [flattened(document, part) for part in [*schema.get("oneOf", []), *schema.get("anyOf", [])]]
    alternatives = [part for part in alternatives if part["properties"]]
    for part in alternatives:
        properties |= part["properties"]
    if alternatives:
        required |= set.intersection(*(set(part["required"]) for part in alternatives))
    # A part that promises nothing may hold anything.
    parts = [resolve(document, part) for part in schema.get("allOf", [])]
    vague = any(part.get("type") == "object" and not flattened(document, part)["properties"] for part in parts)
    return {**schema, "properties": properties, "required": sorted(required), "vague": vague}


def check(document: Json, exact: bool) -> list[str]:
    """What differs, in words."""
    known: dict[str, list[Method]] = {}
    for method in methods():
        known.setdefault(method.call, []).append(method)
    wrong = []
    promised = set()
    seen: set[Any] = set()
    for operation in operations(document):
        promised.add(operation.call)
        mine = known.get(operation.call)
        if mine is None:
            wrong.append(f"{operation.call} ({operation.id}): no method calls it")
            continue
        arguments = set.union(*(method.arguments for method in mine)) | ({"dry_run"} if len(mine) > 1 else set())
        headers = [name.lower().replace("-", "_") for name in operation.headers]
        for name in [*operation.query, *operation.fields, *headers]:
            if name not in arguments:
                wrong.append(f"{operation.call}: {mine[0].name}() has no argument '{name}'")
        wrong += _answer(document, operation, mine, exact, seen)
    if exact:
        wrong += [f"{call}: {mine[0].name}() calls what the document does not have" for call, mine in known.items() if call not in promised]
    return wrong


def _answer(document: Json, operation: Operation, mine: list[Method], exact: bool, seen: set[Any]) -> list[str]:
    """Differences between the typed answer of a method and that of the document."""
    wrong = []
    for method in mine:
        kind = getattr(types, method.answer.removeprefix("types."), None)
        if operation.answer is not None and typing.is_typeddict(kind):
            # What one call answers is either of two things where two methods send it.
            either = len(mine) > 1
            wrong += [f"{operation.call}: {w}" for w in fields(document, operation.answer, kind, either, exact, seen)]
    return wrong


def fields(document: Json, schema: Json, kind: Any, either: bool, exact: bool, seen: set[Any]) -> Iterator[str]:
    """Differences between a typed dictionary and a schema, and those of all that they hold."""
    schema = flattened(document, schema)
    known = typing.get_type_hints(kind, include_extras=True)
    if (kind, either) in seen or not schema["properties"]:
        return
    seen.add((kind, either))
    if not either:
        required = schema["required"]
        yield from (f"{kind.__name__} has no field '{name}'" for name in required if name not in known)
        absent = [name for name in kind.__required_keys__ if name not in schema["properties"]]
        if not schema["vague"]:
            yield from (f"{kind.__name__} has '{name}', which the document does not" for name in sorted(absent))
        if exact:
            optional = [name for name in schema["properties"] if name not in known and name not in required]
            yield from (f"{kind.__name__} has no optional field '{name}'" for name in optional)
    for name, hint in known.items():
        for inner in dictionaries(hint):
            for part in alternatives(document, schema["properties"].get(name, {})):
                yield from fields(document, part, inner, False, exact, seen)


def dictionaries(hint: Any) -> Iterator[Any]:
    """The typed dictionaries in a type."""
    if typing.is_typeddict(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from dictionaries(argument)


def alternatives(document: Json, schema: Json) -> Iterator[Json]:
    """The objects that a schema allows: itself, its entries, or one of several."""
    schema = resolve(document, schema)
    if "items" in schema:
        yield from alternatives(document, schema["items"])
        return
    several = [*schema.get("oneOf", []), *schema.get("anyOf", [])]
    if not several:
        yield schema
    for part in several:
        yield from alternatives(document, part)


def draft(document: Json) -> str:
    """Methods for the operations that no method calls."""
    known = {method.call for method in methods()}
    text = ""
    for operation in operations(document):
        if operation.call in known:
            continue
        name = re.sub(r"\W", "_", operation.id) or "unnamed"
        options = [*operation.query, *operation.fields]
        signature = ", ".join(["self", *(f"{p}: str" for p in operation.path), *(["*"] if options else [])])
        signature += "".join(f", {option}: Any = None" for option in options)
        parts = [f'"{operation.call}"', *operation.path]
        if operation.query:
            parts.append("query={" + ", ".join(f'"{q}": {q}' for q in operation.query) + "}")
        if operation.fields:
            parts.append("body=given(" + ", ".join(f"{f}={f}" for f in operation.fields) + ")")
        text += f"    def {name}({signature}) -> dict[str, Any]:\n"
        text += f'        """{operation.description}"""\n'
        text += f"        return self._json(dict[str, Any], {', '.join(parts)})\n\n"
    return text


def drafted_type(document: Json, name: str) -> str:
    """A component of the document as a typed dictionary."""
    schema = flattened(document, document["components"]["schemas"][name])
    text = f"class {name}(TypedDict):\n"
    text += f'    """{(schema.get("description") or name).splitlines()[0]}"""\n\n'
    for field, of in schema["properties"].items():
        hint = hint_of(document, of)
        text += f"    {field}: {hint if field in schema['required'] else f'NotRequired[{hint}]'}\n"
    return text


def hint_of(document: Json, schema: Json) -> str:
    """The type of a value: a name of ``kenyon.types`` where there is one for the component."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        inner = resolve(document, schema)
        if flattened(document, inner)["properties"]:
            return str(name)
        return hint_of(document, inner)
    several = [*schema.get("oneOf", []), *schema.get("anyOf", [])]
    if several:
        hints = list(dict.fromkeys(hint_of(document, part) for part in several))
        return "Any" if "Any" in hints else " | ".join(sorted(hints, key=lambda hint: hint == "None"))
    if "enum" in schema:
        return f"Literal[{', '.join(json.dumps(value) for value in schema['enum'])}]"
    kinds = schema.get("type", [])
    names = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict[str, Any]"}
    found = []
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        found.append(f"list[{hint_of(document, schema.get('items', {}))}]" if kind == "array" else names[kind])
    return " | ".join(found) or "Any"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["check", "draft"])
    parser.add_argument("document")
    parser.add_argument("components", nargs="*")
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args()
    if arguments.document.startswith(("http://", "https://")):
        with urllib.request.urlopen(arguments.document) as reply:
            document = json.load(reply)
    else:
        document = json.loads(Path(arguments.document).read_text())
    if arguments.command == "draft":
        drafted = [drafted_type(document, name) for name in arguments.components]
        print("\n\n".join(drafted) if drafted else draft(document), end="")
        return 0
    wrong = check(document, arguments.exact)
    print("\n".join(wrong) or f"current: {len(list(operations(document)))} operations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
