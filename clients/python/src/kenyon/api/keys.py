# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Keys, and who changed what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import types
from .base import Resource


class Keys(Resource):
    """Keys, and who changed what."""

    def list_audit(
        self,
        *,
        since: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.AuditPage:
        """Who changed what, when: every call that changed datasets, models, streams' memories, keys or encoders.

        Rows that are observed and feedback are not entered: they are in the stream's own log. With ``Accept:
        application/x-ndjson`` the entries of the page are lines.

        Args:
            since: Entries from then on.
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before, or the id of the last entry that was read.
        """
        answer: types.AuditPage = self._json(
            "GET /api/v1/audit",
            query={"since": since, "limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def list_audit_lines(
        self,
        *,
        since: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """Who changed what, when: every call that changed datasets, models, streams' memories, keys or encoders.

        Rows that are observed and feedback are not entered: they are in the stream's own log. With ``Accept:
        application/x-ndjson`` the entries of the page are lines.

        The answer is read line by line as it arrives.

        Args:
            since: Entries from then on.
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before, or the id of the last entry that was read.
        """
        return self._lines(
            "GET /api/v1/audit",
            query={"since": since, "limit": limit, "cursor": cursor},
            headers={"Accept": "application/x-ndjson"},
            timeout=timeout,
        )

    def list_keys(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.KeyPage:
        """All keys, without their secrets.

        Args:
            limit: Taken as other lists take it; the page has all entries.
            cursor: There is none but the empty one.
        """
        answer: types.KeyPage = self._json(
            "GET /api/v1/keys",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def create_key(
        self,
        name: str,
        scopes: Sequence[types.Scope],
        *,
        models: Sequence[str] | None = None,
        expires_at: str | None = None,
        timeout: float | None = None,
    ) -> types.MadeKey:
        """Makes a key. Only this answer has its secret.

        Args:
            name: Its name.
            scopes: What it allows: ``predict``, ``observe``, ``train``, ``datasets``, ``read``, or ``admin`` for
                everything.
            models: Names of models it is for; ``*``, as when missing, is all.
            expires_at: When it ends.
        """
        answer: types.MadeKey = self._json(
            "POST /api/v1/keys",
            body={"name": name, "scopes": scopes, "models": models, "expires_at": expires_at},
            timeout=timeout,
        )
        return answer

    def delete_key(self, id: str, *, timeout: float | None = None) -> None:
        """Revokes a key at once, on all replicas.

        Args:
            id: Id of the key.
        """
        self._done("DELETE /api/v1/keys/{id}", id, timeout=timeout)
