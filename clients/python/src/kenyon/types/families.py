# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.families`` uses."""

from typing import Any, NotRequired, TypedDict

from .common import Family


class FamilySettings(TypedDict):
    """A family of networks."""

    #: Its name.
    name: Family
    #: What it is for.
    description: str
    #: Its settings with defaults and limits, as JSON Schema.
    schema: dict[str, Any]


class FamilyPage(TypedDict):
    """All families."""

    #: The families.
    items: list[FamilySettings]
    #: Always null: all families are listed.
    next_cursor: NotRequired[str | None]
