# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""The server itself, and snapshots of it."""

from __future__ import annotations

from .. import types
from ..transport import Reply
from .base import Resource


class System(Resource):
    """The server itself, and snapshots of it."""

    def make_snapshot(self, *, timeout: float | None = None) -> types.Snapshot:
        """Makes a snapshot in the server's data folder, under ``snapshots``; ``kenyon serve --restore FILE`` starts from
        it.
        """
        answer: types.Snapshot = self._json("POST /api/v1/snapshots", timeout=timeout)
        return answer

    def get_snapshot(self, name: str, *, timeout: float | None = None) -> Reply:
        """A snapshot as a file.

        Args:
            name: Name of the snapshot.
        """
        return self._reply("GET /api/v1/snapshots/{name}", name, timeout=timeout)

    def system(self, *, timeout: float | None = None) -> types.System:
        """The server and its state."""
        answer: types.System = self._json("GET /api/v1/system", timeout=timeout)
        return answer
