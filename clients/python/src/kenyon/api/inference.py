# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""The Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence

from .. import types
from .base import Resource


class Inference(Resource):
    """The Open Inference Protocol."""

    def v2_server(self, *, timeout: float | None = None) -> types.V2Server:
        """The server and its extensions."""
        answer: types.V2Server = self._json("GET /v2", timeout=timeout)
        return answer

    def v2_all_stats(self, *, timeout: float | None = None) -> types.V2Statistics:
        """Counts and times of all models."""
        answer: types.V2Statistics = self._json("GET /v2/models/stats", timeout=timeout)
        return answer

    def v2_model(self, model: str, *, timeout: float | None = None) -> types.V2Model:
        """A model: its versions, inputs and outputs.

        Args:
            model: Name of the model.
        """
        answer: types.V2Model = self._json("GET /v2/models/{model}", model, timeout=timeout)
        return answer

    def v2_infer(
        self,
        model: str,
        inputs: Sequence[types.V2Input],
        *,
        id: str | None = None,
        parameters: types.V2InferParameters | None = None,
        outputs: Sequence[types.V2WantedOutput] | None = None,
        timeout: float | None = None,
    ) -> types.V2InferAnswer:
        """Infers with the version that is served.

        Args:
            model: Name of the model.
            inputs: One tensor for each column, or one named ``input`` with all.
            id: Comes back in the answer.
            outputs: The tensors to answer; ``label`` and ``probabilities``, or ``value``, when missing.
        """
        answer: types.V2InferAnswer = self._json(
            "POST /v2/models/{model}/infer",
            model,
            body={"id": id, "parameters": parameters, "inputs": inputs, "outputs": outputs},
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def v2_model_ready(self, model: str, *, timeout: float | None = None) -> types.V2ModelReady:
        """Whether a model can answer.

        Args:
            model: Name of the model.
        """
        answer: types.V2ModelReady = self._json("GET /v2/models/{model}/ready", model, timeout=timeout)
        return answer

    def v2_stats(self, model: str, *, timeout: float | None = None) -> types.V2Statistics:
        """Counts and times of a model, by version.

        Args:
            model: Name of the model.
        """
        answer: types.V2Statistics = self._json("GET /v2/models/{model}/stats", model, timeout=timeout)
        return answer

    def v2_model_version(self, model: str, version: str, *, timeout: float | None = None) -> types.V2Model:
        """A version: its inputs and outputs.

        Args:
            model: Name of the model.
            version: Number of the version.
        """
        answer: types.V2Model = self._json("GET /v2/models/{model}/versions/{version}", model, version, timeout=timeout)
        return answer

    def v2_infer_version(
        self,
        model: str,
        version: str,
        inputs: Sequence[types.V2Input],
        *,
        id: str | None = None,
        parameters: types.V2InferParameters | None = None,
        outputs: Sequence[types.V2WantedOutput] | None = None,
        timeout: float | None = None,
    ) -> types.V2InferAnswer:
        """Infers with a version by number.

        Args:
            model: Name of the model.
            version: Number of the version.
            inputs: One tensor for each column, or one named ``input`` with all.
            id: Comes back in the answer.
            outputs: The tensors to answer; ``label`` and ``probabilities``, or ``value``, when missing.
        """
        answer: types.V2InferAnswer = self._json(
            "POST /v2/models/{model}/versions/{version}/infer",
            model,
            version,
            body={"id": id, "parameters": parameters, "inputs": inputs, "outputs": outputs},
            repeatable=True,
            timeout=timeout,
        )
        return answer

    def v2_model_version_ready(self, model: str, version: str, *, timeout: float | None = None) -> types.V2ModelReady:
        """Whether a version can answer.

        Args:
            model: Name of the model.
            version: Number of the version.
        """
        answer: types.V2ModelReady = self._json(
            "GET /v2/models/{model}/versions/{version}/ready",
            model,
            version,
            timeout=timeout,
        )
        return answer

    def v2_version_stats(self, model: str, version: str, *, timeout: float | None = None) -> types.V2Statistics:
        """Counts and times of a version.

        Args:
            model: Name of the model.
            version: Number of the version.
        """
        answer: types.V2Statistics = self._json(
            "GET /v2/models/{model}/versions/{version}/stats",
            model,
            version,
            timeout=timeout,
        )
        return answer

    def v2_index(self, *, ready: bool | None = None, timeout: float | None = None) -> list[types.V2IndexEntry]:
        """All models with their versions.

        Args:
            ready: Only versions that are served.
        """
        answer: list[types.V2IndexEntry] = self._json(
            "POST /v2/repository/index",
            body={"ready": ready},
            repeatable=True,
            timeout=timeout,
        )
        return answer
