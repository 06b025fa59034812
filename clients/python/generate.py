"""Writes the low-level client, ``kenyon.api`` and ``kenyon.types``, from the document of a server.

    python generate.py write DOCUMENT    # writes src/kenyon/api and src/kenyon/types
    python generate.py check DOCUMENT    # what writing would change; fails if anything would

DOCUMENT is the file or the address of an ``openapi.json``; the repository has it as ``tests/api/openapi.json``. Against a
running server ``check`` shows what a newer or an older one has otherwise: calls, arguments, fields of requests and answers.
How operations become methods is in ``generator/operations.py``, and all special cases are in ``generator/special.py``.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import urllib.request
from pathlib import Path

from generator import components, operations
from generator.schemas import Json

PACKAGE = Path(__file__).resolve().parent / "src/kenyon"
HEADER = "# Generated from the server's OpenAPI document by generate.py. Do not edit.\n"
#: What the generated folders hold that is written by hand.
BY_HAND = {"api/base.py"}


def generated(document: Json) -> dict[str, str]:
    """The files of the low-level client, by their names in the package."""
    groups = {"api": operations.files(document), "types": components.files(document)}
    return {f"{folder}/{name}": HEADER + text for folder, files in groups.items() for name, text in files}


def present() -> dict[str, str]:
    """The files that are there."""
    files = [file for folder in ("api", "types") for file in sorted((PACKAGE / folder).glob("*.py"))]
    named = {file.relative_to(PACKAGE).as_posix(): file for file in files}
    return {name: file.read_text() for name, file in named.items() if name not in BY_HAND}


def check(document: Json) -> list[str]:
    """The lines of a unified diff from what is there to what would be written."""
    old, new = present(), generated(document)
    lines: list[str] = []
    for name in sorted({*old, *new}):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        lines += difflib.unified_diff(before, after, f"src/kenyon/{name}", f"src/kenyon/{name}", lineterm="")
        if not lines and old.get(name) != new.get(name):
            lines.append(f"src/kenyon/{name}: other line ends, or an empty file")
    return lines


def write(document: Json) -> int:
    """Writes every file, and removes what is no longer one."""
    new = generated(document)
    for name in {*present()} - {*new}:
        (PACKAGE / name).unlink()
    for name, text in new.items():
        (PACKAGE / name).write_text(text)
    return len(new)


def read(source: str) -> Json:
    """A document from a file or an address."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source) as reply:
            document: Json = json.load(reply)
    else:
        document = json.loads(Path(source).read_text())
    return document


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["check", "write"])
    parser.add_argument("document")
    arguments = parser.parse_args()
    document = read(arguments.document)
    if arguments.command == "write":
        print(f"wrote {write(document)} files")
        return 0
    wrong = check(document)
    print("\n".join(wrong) or f"current: {len(generated(document))} files")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
