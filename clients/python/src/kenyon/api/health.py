# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Probes and metrics."""

from __future__ import annotations

from .. import types
from .base import Resource


class Health(Resource):
    """Probes and metrics."""

    def healthz(self, *, timeout: float | None = None) -> types.Health:
        """Whether database and object store answer."""
        answer: types.Health = self._json("GET /healthz", timeout=timeout)
        return answer

    def livez(self, *, timeout: float | None = None) -> types.Health:
        """Liveness: whether the process runs. Ignores load and every other system."""
        answer: types.Health = self._json("GET /livez", timeout=timeout)
        return answer

    def prometheus(self, *, timeout: float | None = None) -> str:
        """Metrics in the Prometheus text format."""
        return self._text("GET /metrics", timeout=timeout)

    def readyz(self, *, timeout: float | None = None) -> types.Health:
        """Whether requests should be sent here: not while starting, draining, or without the database."""
        answer: types.Health = self._json("GET /readyz", timeout=timeout)
        return answer

    def v2_live(self, *, timeout: float | None = None) -> types.V2Live:
        """Whether the server runs. Uses no other system, so that it answers at once whatever is unavailable."""
        answer: types.V2Live = self._json("GET /v2/health/live", timeout=timeout)
        return answer

    def v2_ready(self, *, timeout: float | None = None) -> types.V2Ready:
        """Whether the server takes requests."""
        answer: types.V2Ready = self._json("GET /v2/health/ready", timeout=timeout)
        return answer
