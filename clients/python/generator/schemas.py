"""Reading the document: references, properties, and the Python type of a schema."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

#: Characters of a line.
WIDTH = 120
REFERENCE = "#/components/schemas/"
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def resolve(document: Json, schema: Json) -> Json:
    """Follows references."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema


def references(node: Any) -> Iterator[str]:
    """Names of the components that a part of the document refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str) and node["$ref"].startswith(REFERENCE):
            yield node["$ref"].removeprefix(REFERENCE)
        for name, value in node.items():
            if name == "properties":
                # Fields may have any names, those of a schema's own words too.
                yield from references(list(value.values()))
            elif name not in ("example", "examples"):
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def properties(document: Json, schema: Json) -> tuple[Json, set[str]]:
    """Properties of all parts of a schema, and the required ones; of alternatives, those that all require."""
    schema = resolve(document, schema)
    found, required = dict(schema.get("properties", {})), set(schema.get("required", []))
    for part in schema.get("allOf", []):
        more, also = properties(document, part)
        found |= more
        required |= also
    several = [part for part in alternatives(schema) if part != {"type": "null"}]
    if several:
        parts = [properties(document, part) for part in several]
        for more, _ in parts:
            found |= more
        required |= set.intersection(*(also for _, also in parts))
    return found, required


def alternatives(schema: Json) -> list[Json]:
    """What a value may be, where it may be one of several."""
    return [*schema.get("oneOf", []), *schema.get("anyOf", [])]


def hint(schema: Json, prefix: str = "", *, argument: bool = False) -> str:
    """The type of a value. ``prefix`` stands before names of components; an ``argument`` may be any sequence or mapping."""
    if "$ref" in schema:
        return prefix + str(schema["$ref"]).removeprefix(REFERENCE)
    several = alternatives(schema)
    if several:
        return union(hint(part, prefix, argument=argument) for part in several)
    if "enum" in schema:
        words = [literal(value) for value in schema["enum"] if value is not None]
        return union([f"Literal[{', '.join(words)}]", *(["None"] if None in schema["enum"] else [])])
    kinds = schema.get("type", [])
    return union(_hint(kind, schema, prefix, argument) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _hint(kind: str, schema: Json, prefix: str, argument: bool) -> str:
    if kind == "array":
        inner = hint(schema.get("items", {}), prefix, argument=argument)
        return f"{'Sequence' if argument else 'list'}[{inner}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        open_ended = "properties" in schema or not isinstance(values, dict)
        inner = "Any" if open_ended else hint(values or {}, prefix, argument=argument)
        return f"{'Mapping' if argument else 'dict'}[str, {inner}]"
    return SCALARS[kind]


def union(hints: Any) -> str:
    """One type of several, ``None`` last."""
    found = list(dict.fromkeys(part for one in hints for part in _parts(one)))
    if not found or "Any" in found:
        return "Any"
    return " | ".join(sorted(found, key=lambda part: part == "None"))


def _parts(one: str) -> list[str]:
    """The parts of a union, without dividing what brackets hold."""
    return re.split(r" \| (?![^\[]*\])", one)


def literal(value: Any) -> str:
    """A value as Python's source has it, with double quotes."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def described(schema: Json) -> str:
    """The description of a schema, which may stand in the part of it that is not ``null``."""
    return schema.get("description") or next((text for part in alternatives(schema) if (text := described(part))), "")


def filled(before: str, items: list[str], after: str) -> str:
    """Items between brackets, on as few lines as they need."""
    line = before + ", ".join(items) + after
    if len(line) <= WIDTH:
        return line
    # A line may end between two items, and not at a space inside one.
    text = ", ".join(item.replace(" ", "\0") for item in items) + ","
    lines = textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return f"{before}\n{lines}\n{after}".replace("\0", " ")


def identifier(name: str) -> str:
    """The name of an argument: ``Last-Event-ID`` is ``last_event_id``, and ``from`` is ``from_``."""
    name = re.sub(r"\W", "_", name.lower() if "-" in name else name)
    return name + "_" if keyword.iskeyword(name) else name


def prose(text: str) -> str:
    """A description as a docstring has it: on one line, code between two backticks."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)


def docstring(paragraphs: list[str], indent: str, items: list[str] | None = None) -> str:
    """A docstring of paragraphs, and of the arguments where there are any."""
    width = WIDTH - len(indent)
    blocks = [textwrap.fill(prose(text), width, break_on_hyphens=False) for text in paragraphs if text]
    if items:
        lines = [
            textwrap.indent(textwrap.fill(prose(item), width - 4, subsequent_indent="    ", break_on_hyphens=False), "    ")
            for item in items
        ]
        blocks.append("Args:\n" + "\n".join(lines))
    text = "\n\n".join(blocks)
    # A quote before the closing ones would end the text early, and what is too long for one line ends on a line of its own.
    end = "\n" if "\n" in text or text.endswith('"') or len(text) > width - 6 else ""
    return textwrap.indent(f'"""{text}{end}"""', indent) + "\n"


def imports(source: str, modules: dict[str, list[str]]) -> str:
    """Imports of those names that the source uses."""
    text = ""
    for module, names in modules.items():
        used = sorted((name for name in names if re.search(rf"\b{name}\b", source)), key=str.lower)
        if used:
            text += listed(f"from {module} import ", used) + "\n"
    return text


def listed(before: str, items: list[str]) -> str:
    """Names after an ``import``, on one line where they fit."""
    line = before + ", ".join(items)
    return line if len(line) <= WIDTH else f"{before}(\n" + "".join(f"    {item},\n" for item in items) + ")"
