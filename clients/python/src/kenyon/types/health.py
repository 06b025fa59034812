# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.health`` uses."""

from typing import TypedDict


class Health(TypedDict):
    """The state of the server."""

    #: ``live``, ``ready`` or ``healthy``.
    status: str
    #: The server's version.
    version: str


class V2Live(TypedDict):
    """That the server runs."""

    #: True.
    live: bool


class V2Ready(TypedDict):
    """Whether the server takes requests."""

    #: True.
    live: bool
    #: False while it starts or stops.
    ready: bool
