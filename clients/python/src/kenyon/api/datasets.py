"""Datasets: files of rows that models are trained on."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack

from .. import types
from ..transport import Body
from .base import Resource


class ReadOptions(TypedDict, total=False):
    """How a file is read, where its content does not say it well enough."""

    delimiter: str
    quote: str
    header: Literal["present", "absent"]
    encoding: str
    decimal: Literal[".", ","]
    missing: str | list[str]
    day_first: bool
    strict: bool


class Datasets(Resource):
    """``/api/v1/datasets``."""

    def list_datasets(self, *, limit: int | None = None, cursor: str | None = None) -> types.DatasetPage:
        """All datasets, by name."""
        return self._json(types.DatasetPage, "GET /api/v1/datasets", query={"limit": limit, "cursor": cursor})

    def get_dataset(self, name: str) -> types.Dataset:
        """One dataset with its schema, statistics and first rows."""
        return self._json(types.Dataset, "GET /api/v1/datasets/{name}", name)

    def put_dataset(
        self,
        name: str,
        data: Body,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        dry_run: bool | None = None,
        timeout: float | None = None,
        **read: Unpack[ReadOptions],
    ) -> types.Dataset:
        """Creates the dataset from a file, or replaces it. With ``dry_run`` nothing is stored."""
        query: dict[str, Any] = {**read, "dry_run": dry_run}
        headers = {"Content-Type": content_type, "Content-Encoding": content_encoding}
        return self._json(
            types.Dataset, "PUT /api/v1/datasets/{name}", name, query=query, data=data, headers=headers, timeout=timeout
        )

    def delete_dataset(self, name: str) -> None:
        """Removes it; 409 while a running job reads it."""
        self._done("DELETE /api/v1/datasets/{name}", name)

    def get_rows(self, name: str, *, offset: int | None = None, limit: int | None = None) -> types.DatasetRows:
        """Rows as JSON, at most 10,000 of a call."""
        query = {"offset": offset, "limit": limit}
        return self._json(types.DatasetRows, "GET /api/v1/datasets/{name}/rows", name, query=query)

    def append_rows(
        self,
        name: str,
        data: Body,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        dry_run: bool | None = None,
        timeout: float | None = None,
        **read: Unpack[ReadOptions],
    ) -> types.Appended:
        """Appends the rows of a file, all or none. With ``dry_run`` nothing is stored."""
        query: dict[str, Any] = {**read, "dry_run": dry_run}
        headers = {"Content-Type": content_type, "Content-Encoding": content_encoding}
        return self._json(
            types.Appended, "POST /api/v1/datasets/{name}/rows", name, query=query, data=data, headers=headers, timeout=timeout
        )
