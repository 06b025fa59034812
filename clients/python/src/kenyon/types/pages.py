# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.pages`` uses."""

from typing import Any, TypedDict


class ApiTitle(TypedDict):
    """What the interface is."""

    #: ``Kenyon``.
    title: str
    #: In a sentence.
    description: str
    #: The version of the program.
    version: str


class ApiDescription(TypedDict):
    """An OpenAPI document: the parts that a client may count on."""

    #: ``3.1.0``.
    openapi: str
    info: ApiTitle
    #: Operations by path and method.
    paths: dict[str, dict[str, Any]]
    #: Schemas and ways to send a key, by kind and name.
    components: dict[str, dict[str, Any]]
