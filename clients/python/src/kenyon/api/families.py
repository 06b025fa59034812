# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Kinds of models and their settings."""

from __future__ import annotations

from .. import types
from .base import Resource


class Families(Resource):
    """Kinds of models and their settings."""

    def families(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.FamilyPage:
        """Each family with its settings, defaults and limits.

        Args:
            limit: Taken as other lists take it; the page has all entries.
            cursor: There is none but the empty one.
        """
        answer: types.FamilyPage = self._json(
            "GET /api/v1/families",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer
