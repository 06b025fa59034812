# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Pretrained networks that turn texts and pictures into vectors."""

from __future__ import annotations

from collections.abc import Sequence

from .. import types
from ..transport import Body
from .base import Resource


class Encoders(Resource):
    """Pretrained networks that turn texts and pictures into vectors."""

    def list_encoders(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.EncoderPage:
        """All encoders.

        Args:
            limit: Taken as other lists take it; the page has all entries.
            cursor: There is none but the empty one.
        """
        answer: types.EncoderPage = self._json(
            "GET /api/v1/encoders",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def get_encoder(self, name: str, *, timeout: float | None = None) -> types.Encoder:
        """One encoder.

        Args:
            name: Name of the encoder.
        """
        answer: types.Encoder = self._json("GET /api/v1/encoders/{name}", name, timeout=timeout)
        return answer

    def put_encoder(
        self,
        name: str,
        data: Body,
        *,
        content_type: str = "application/x-tar",
        content_encoding: str | None = None,
        timeout: float | None = None,
    ) -> types.Encoder:
        """Adds an encoder from a tar or zip archive of its folder as published. The same folder again is no error.

        Args:
            name: Name of the encoder.
            data: The body, which is sent as it is.
            content_type: What it is: ``application/x-tar``, ``application/zip``.
            content_encoding: How it is compressed: ``gzip`` or ``zstd``.
        """
        answer: types.Encoder = self._json(
            "PUT /api/v1/encoders/{name}",
            name,
            headers={"Content-Type": content_type, "Content-Encoding": content_encoding},
            data=data,
            timeout=timeout,
        )
        return answer

    def delete_encoder(self, name: str, *, timeout: float | None = None) -> None:
        """Removes an encoder that no model uses.

        Args:
            name: Name of the encoder.
        """
        self._done("DELETE /api/v1/encoders/{name}", name, timeout=timeout)

    def distill(
        self,
        name: str,
        dataset: types.DatasetName,
        column: str,
        into: types.EncoderName,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.Job:
        """Queues a job that makes a static encoder, one vector a token, from a transformer and the texts of a dataset.

        It becomes an encoder like one that was added; the job's metrics state how near its vectors are to the
        transformer's.

        Args:
            name: Name of the encoder.
            dataset: The dataset that has the texts; of a large one the first 200,000 rows.
            column: Its column of texts.
            into: The name of the new encoder.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.Job = self._json(
            "POST /api/v1/encoders/{name}/distill",
            name,
            headers={"Idempotency-Key": idempotency_key},
            body={"dataset": dataset, "column": column, "into": into},
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def embed_inputs(
        self,
        name: str,
        inputs: Sequence[str],
        *,
        timeout: float | None = None,
    ) -> types.EncoderEmbeddings:
        """The vectors of some texts.

        Args:
            name: Name of the encoder.
            inputs: The texts, 1024 at most.
        """
        answer: types.EncoderEmbeddings = self._json(
            "POST /api/v1/encoders/{name}/embed",
            name,
            body={"inputs": inputs},
            repeatable=True,
            timeout=timeout,
        )
        return answer
