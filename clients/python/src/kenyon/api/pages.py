# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Pages for people, and this document."""

from __future__ import annotations

from .. import types
from .base import Resource


class Pages(Resource):
    """Pages for people, and this document."""

    def description(self, *, timeout: float | None = None) -> types.ApiDescription:
        """This description of the interface."""
        answer: types.ApiDescription = self._json("GET /openapi.json", timeout=timeout)
        return answer
