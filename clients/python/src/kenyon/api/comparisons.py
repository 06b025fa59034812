# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Comparison of representations with each other and with recordings."""

from __future__ import annotations

from collections.abc import Sequence

from .. import types
from .base import Resource


class Comparisons(Resource):
    """Comparison of representations with each other and with recordings."""

    def list_comparisons(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> types.ComparisonPage:
        """Comparisons, newest first.

        Args:
            limit: Entries of a page, at most 1,000; 100 when missing.
            cursor: ``next_cursor`` of the page before.
        """
        answer: types.ComparisonPage = self._json(
            "GET /api/v1/comparisons",
            query={"limit": limit, "cursor": cursor},
            timeout=timeout,
        )
        return answer

    def make_comparison(
        self,
        systems: Sequence[types.SystemToCompare],
        *,
        stimuli: types.DatasetName | None = None,
        condition: str | None = None,
        distance: types.Distance | None = None,
        compare: types.SimilarityMeasure | None = None,
        reference: str | None = None,
        bootstrap: types.BootstrapRequest | None = None,
        weighting: Sequence[str] | None = None,
        encoding: bool | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> types.Job:
        """Queues a comparison of representations; its id is that of the job.

        Args:
            systems: What is compared.
            stimuli: A dataset with a row for each stimulus, which systems of models and encoders read.
            condition: The column of ``stimuli`` with the stimuli's names; without it they are named by row number, from
                0.
            distance: How the dissimilarity of two stimuli is measured; ``correlation`` when missing, with ``cka`` and
                ``procrustes`` ``euclidean``.
            compare: How two dissimilarity matrices are compared.
            reference: Name of the system that the others are to explain, for example recordings; without it all are
                compared with each other.
            bootstrap: Samples drawn for standard errors, intervals and tests.
            weighting: Names of systems whose best non-negative mixture is fitted to the reference, by cross-validation.
            encoding: Whether the responses of the reference, a dataset, are predicted from each system by ridge
                regression.
            idempotency_key: Repeating a call with the same key has no further effect and the same answer.
        """
        answer: types.Job = self._json(
            "POST /api/v1/comparisons",
            headers={"Idempotency-Key": idempotency_key},
            body={
                "stimuli": stimuli,
                "condition": condition,
                "systems": systems,
                "distance": distance,
                "compare": compare,
                "reference": reference,
                "bootstrap": bootstrap,
                "weighting": weighting,
                "encoding": encoding,
            },
            repeatable=idempotency_key is not None,
            timeout=timeout,
        )
        return answer

    def get_comparison(
        self,
        id: str,
        *,
        rdms: bool | None = None,
        timeout: float | None = None,
    ) -> types.ComparisonWithRdms:
        """A comparison: what it found, and its matrices.

        Args:
            id: Id of the comparison, which is that of its job.
            rdms: Whether with the matrices; they are sent when missing.
        """
        answer: types.ComparisonWithRdms = self._json(
            "GET /api/v1/comparisons/{id}",
            id,
            query={"rdms": rdms},
            timeout=timeout,
        )
        return answer

    def delete_comparison(self, id: str, *, timeout: float | None = None) -> None:
        """Removes a comparison that has ended.

        Args:
            id: Id of the comparison, which is that of its job.
        """
        self._done("DELETE /api/v1/comparisons/{id}", id, timeout=timeout)
