"""The Open Inference Protocol, in JSON. For binary tensors use one of its own clients, such as ``tritonclient``."""

from __future__ import annotations

from typing import Any

from .base import Resource

Answer = dict[str, Any]


class Inference(Resource):
    """``/v2``."""

    def v2_server(self) -> Answer:
        """The server's metadata."""
        return self._json(Answer, "GET /v2")

    def v2_live(self) -> Answer:
        """Whether the server lives."""
        return self._json(Answer, "GET /v2/health/live")

    def v2_ready(self) -> Answer:
        """Whether the server takes requests."""
        return self._json(Answer, "GET /v2/health/ready")

    def v2_index(self, request: Answer | None = None) -> list[Answer]:
        """All models with their versions."""
        return self._json(list[Answer], "POST /v2/repository/index", body=request or {}, repeatable=True)

    def v2_model(self, model: str) -> Answer:
        """A model's metadata."""
        return self._json(Answer, "GET /v2/models/{model}", model)

    def v2_model_ready(self, model: str) -> Answer:
        """Whether a model can answer."""
        return self._json(Answer, "GET /v2/models/{model}/ready", model)

    def v2_infer(self, model: str, request: Answer) -> Answer:
        """Answers tensors."""
        return self._json(Answer, "POST /v2/models/{model}/infer", model, body=request, repeatable=True)

    def v2_stats(self, model: str) -> Answer:
        """Counts and times of a model, by version."""
        return self._json(Answer, "GET /v2/models/{model}/stats", model)

    def v2_all_stats(self) -> Answer:
        """Counts and times of all models."""
        return self._json(Answer, "GET /v2/models/stats")

    def v2_model_version(self, model: str, version: str) -> Answer:
        """A version's metadata."""
        return self._json(Answer, "GET /v2/models/{model}/versions/{version}", model, version)

    def v2_model_version_ready(self, model: str, version: str) -> Answer:
        """Whether a version can answer."""
        return self._json(Answer, "GET /v2/models/{model}/versions/{version}/ready", model, version)

    def v2_infer_version(self, model: str, version: str, request: Answer) -> Answer:
        """Answers tensors by one version."""
        call = "POST /v2/models/{model}/versions/{version}/infer"
        return self._json(Answer, call, model, version, body=request, repeatable=True)

    def v2_version_stats(self, model: str, version: str) -> Answer:
        """Counts and times of a version."""
        return self._json(Answer, "GET /v2/models/{model}/versions/{version}/stats", model, version)
