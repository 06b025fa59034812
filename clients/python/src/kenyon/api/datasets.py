# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Tables: upload, append, look at, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .. import types
from ..transport import Body
from .base import Resource


class Datasets(Resource):
    """Tables: upload, append, look at, delete."""

    def list_datasets(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.DatasetPage:
        """All datasets, by name.

        Args:
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before.
        """
        answer: types.DatasetPage = self._json(
            "GET /api/v1/datasets",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def get_dataset(self, name: str, *, timeout: float | None = None) -> types.Dataset:
        """One dataset with its schema, statistics and first rows.

        Args:
            name: Name of the dataset.
        """
        answer: types.Dataset = self._json("GET /api/v1/datasets/{name}", name, timeout=timeout)
        return answer

    def put_dataset(
        self,
        name: str,
        data: Body,
        *,
        delimiter: str | None = None,
        quote: str | None = None,
        header: Literal["present", "absent"] | None = None,
        encoding: str | None = None,
        decimal: Literal[".", ","] | None = None,
        missing: str | Sequence[str] | None = None,
        day_first: bool | None = None,
        strict: bool | None = None,
        dry_run: bool | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        timeout: float | None = None,
    ) -> types.Dataset:
        """Creates the dataset from a file, or replaces it.

        The format comes from ``Content-Type``, else from the content. gzip and zstd are decoded. With ``dry_run`` the
        answer is the same (200), and nothing is stored.

        Args:
            name: Name of the dataset.
            data: The body, which is sent as it is.
            delimiter: What separates fields: one character, or ``tab`` or ``space``.
            quote: What encloses fields: ``"`` (or ``double``), ``'`` (or ``single``) or ``none``.
            header: ``present`` when the first record names the columns, ``absent`` when it is a row.
            encoding: Character encoding, such as ``windows-1252`` or ``utf-16le``; other labels of the WHATWG Encoding
                Standard are read, too.
            decimal: Decimal mark of all number columns: ``.`` or ``,``.
            missing: Words that mean "no value", separated by commas.
            day_first: Whether the day comes first in dates such as ``03/04/2024``.
            strict: Refuse the file when a cell does not fit its column's kind.
            dry_run: Read the file and answer as usual, but store nothing.
            content_type: What it is: ``application/octet-stream``, ``application/vnd.apache.parquet``,
                ``application/x-ndjson``, ``text/csv``, ``text/tab-separated-values``.
            content_encoding: How it is compressed: ``gzip`` or ``zstd``.
        """
        answer: types.Dataset = self._json(
            "PUT /api/v1/datasets/{name}",
            name,
            query={
                "delimiter": delimiter,
                "quote": quote,
                "header": header,
                "encoding": encoding,
                "decimal": decimal,
                "missing": missing,
                "day_first": day_first,
                "strict": strict,
                "dry_run": dry_run,
            },
            headers={"Content-Type": content_type, "Content-Encoding": content_encoding},
            data=data,
            timeout=timeout,
        )
        return answer

    def delete_dataset(self, name: str, *, timeout: float | None = None) -> None:
        """Removes it.

        Args:
            name: Name of the dataset.
        """
        self._done("DELETE /api/v1/datasets/{name}", name, timeout=timeout)

    def get_rows(
        self,
        name: str,
        *,
        offset: int | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> types.DatasetRows:
        """Rows as JSON.

        Args:
            name: Name of the dataset.
            offset: Rows to skip.
            limit: Rows to show, at most 10,000; 100 when missing.
        """
        answer: types.DatasetRows = self._json(
            "GET /api/v1/datasets/{name}/rows",
            name,
            query={"offset": offset, "limit": limit},
            timeout=timeout,
        )
        return answer

    def append_rows(
        self,
        name: str,
        data: Body,
        *,
        delimiter: str | None = None,
        quote: str | None = None,
        header: Literal["present", "absent"] | None = None,
        encoding: str | None = None,
        decimal: Literal[".", ","] | None = None,
        missing: str | Sequence[str] | None = None,
        day_first: bool | None = None,
        strict: bool | None = None,
        dry_run: bool | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        timeout: float | None = None,
    ) -> types.Appended:
        """Appends the rows of a file, all or none. With ``dry_run`` the answer is the same, and nothing is stored.

        Args:
            name: Name of the dataset.
            data: The body, which is sent as it is.
            delimiter: What separates fields: one character, or ``tab`` or ``space``.
            quote: What encloses fields: ``"`` (or ``double``), ``'`` (or ``single``) or ``none``.
            header: ``present`` when the first record names the columns, ``absent`` when it is a row.
            encoding: Character encoding, such as ``windows-1252`` or ``utf-16le``; other labels of the WHATWG Encoding
                Standard are read, too.
            decimal: Decimal mark of all number columns: ``.`` or ``,``.
            missing: Words that mean "no value", separated by commas.
            day_first: Whether the day comes first in dates such as ``03/04/2024``.
            strict: Refuse the file when a cell does not fit its column's kind.
            dry_run: Read the file and answer as usual, but store nothing.
            content_type: What it is: ``application/octet-stream``, ``application/vnd.apache.parquet``,
                ``application/x-ndjson``, ``text/csv``, ``text/tab-separated-values``.
            content_encoding: How it is compressed: ``gzip`` or ``zstd``.
        """
        answer: types.Appended = self._json(
            "POST /api/v1/datasets/{name}/rows",
            name,
            query={
                "delimiter": delimiter,
                "quote": quote,
                "header": header,
                "encoding": encoding,
                "decimal": decimal,
                "missing": missing,
                "day_first": day_first,
                "strict": strict,
                "dry_run": dry_run,
            },
            headers={"Content-Type": content_type, "Content-Encoding": content_encoding},
            data=data,
            timeout=timeout,
        )
        return answer
