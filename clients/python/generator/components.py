"""The components of the document as typed dictionaries, literal types and other names: ``kenyon.types``."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator

from .schemas import WIDTH, Json, described, docstring, filled, hint, imports, listed, literal, prose, references, resolve

#: The module of components that several groups of operations use.
COMMON = "common"


def files(document: Json) -> Iterator[tuple[str, str]]:
    """Names and contents of the modules."""
    schemas: Json = document["components"]["schemas"]
    modules = _modules(document)
    names: dict[str, list[str]] = {module: [] for module in sorted(modules.values())}
    for name, module in modules.items():
        names[module].append(name)
    for module, inside in names.items():
        body = "".join(_component(document, name) for name in _ordered(schemas, inside))
        users = "several groups of calls use" if module == COMMON else f"only ``kenyon.api.{module}`` uses"
        head = docstring([f"Types that {users}."], "") + "\n"
        used = imports(body, {"typing": ["Any", "Literal", "NotRequired", "TypedDict"]})
        shared = sorted({ref for name in inside for ref in references(schemas[name]) if modules[ref] != module})
        # What only one group uses is in its module, so no module needs one that needs it.
        used += f"\n{listed('from .common import ', shared)}\n" if shared else ""
        yield f"{module}.py", f"{head}{used}{body}"
    text = docstring(["Types of the server's answers and requests, by the names that the document gives them."], "")
    for module, inside in names.items():
        text += f"\n{listed(f'from .{module} import ', sorted(inside))}"
    every = "".join(f'    "{name}",\n' for name in sorted(schemas))
    yield "__init__.py", f"{text}\n\n__all__ = [\n{every}]\n"


def _modules(document: Json) -> dict[str, str]:
    """The module of each component: the group of operations that uses it, or the common one."""
    schemas = document["components"]["schemas"]
    users: dict[str, set[str]] = {name: set() for name in schemas}

    def use(name: str, tag: str) -> None:
        if tag not in users[name]:
            users[name].add(tag)
            for inner in references(schemas[name]):
                use(inner, tag)

    for item in document["paths"].values():
        for operation in item.values():
            for name in references(operation):
                use(name, operation["tags"][0])
    return {name: min(tags) if len(tags) == 1 else COMMON for name, tags in users.items()}


def _ordered(schemas: Json, names: list[str]) -> list[str]:
    """Components after those that they refer to, since a typed dictionary is evaluated where it stands."""
    order: list[str] = []
    open_ones: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in names:
            return
        if name in open_ones:
            raise NotImplementedError(f"components that hold themselves: {' → '.join([*open_ones, name])}")
        open_ones.append(name)
        for inner in references(schemas[name]):
            add(inner)
        open_ones.remove(name)
        order.append(name)

    for name in sorted(names):
        add(name)
    return order


def is_dictionary(document: Json, schema: Json) -> bool:
    """Whether a schema is a typed dictionary: an object with fixed fields, or one that extends another."""
    schema = resolve(document, schema)
    if "allOf" in schema:
        return all(is_dictionary(document, part) for part in schema["allOf"])
    # A typed dictionary has no further keys.
    return "properties" in schema and schema.get("additionalProperties") in (None, False)


def _component(document: Json, name: str) -> str:
    schema = document["components"]["schemas"][name]
    if not is_dictionary(document, schema):
        words = [literal(word) for word in schema.get("enum", [])]
        value = filled(f"{name} = Literal[", words, "]") if words else f"{name} = {hint(schema)}"
        return f"\n\n{_comment(schema, '')}{value}\n"
    parts = schema.get("allOf", [schema])
    bases = [hint(part) for part in parts if "$ref" in part]
    own = [part for part in parts if "$ref" not in part]
    fields = {field: of for part in own for field, of in part["properties"].items()}
    required = {field for part in own for field in part.get("required", [])}
    hints = {field: hint(of) if field in required else f"NotRequired[{hint(of)}]" for field, of in fields.items()}
    comments = {field: _comment(of, "    ") for field, of in fields.items()}
    if any(map(keyword.iskeyword, fields)):
        body = "".join(f'{comments[field]}    "{field}": {of},\n' for field, of in hints.items())
        return f'\n\n{_comment(schema, "")}{name} = TypedDict("{name}", {{\n{body}}})\n'
    body = "".join(f"{comments[field]}    {field}: {of}\n" for field, of in hints.items())
    text = docstring([schema.get("description") or f"{name}."], "    ") + ("\n" + body if body else "")
    return f"\n\nclass {name}({', '.join(bases or ['TypedDict'])}):\n{text}"


def _comment(schema: Json, indent: str) -> str:
    text = prose(described(schema))
    return textwrap.fill(text, WIDTH, initial_indent=f"{indent}#: ", subsequent_indent=f"{indent}#: ") + "\n" if text else ""
