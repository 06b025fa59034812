"""Errors: what the server answers instead of a result, and what keeps a request from being answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "ApiError",
    "BadRequestError",
    "ConflictError",
    "ConnectionFailedError",
    "DiskFullError",
    "ForbiddenError",
    "JobFailedError",
    "KenyonError",
    "MissingDependencyError",
    "NotFoundError",
    "OverloadedError",
    "RequestTimeoutError",
    "ServerFaultError",
    "ServerStartError",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnprocessableError",
    "UnsupportedError",
    "error_from",
]

#: Places of an error that its text lists.
MAX_PLACES = 3


class KenyonError(Exception):
    """Base of all errors of this package."""


class MissingDependencyError(KenyonError, ImportError):
    """An optional package is needed and not installed."""


class ConnectionFailedError(KenyonError, ConnectionError):
    """The server cannot be reached, or the connection broke before it answered."""


class ServerStartError(KenyonError):
    """The embedded server did not start."""


class ApiError(KenyonError):
    """The server answered with an error (RFC 9457).

    Attributes:
        status: The HTTP status.
        code: Stable ``snake_case`` code, to be compared by programs.
        detail: What is wrong, for a person.
        details: Where it is wrong: the first 20 places, each with ``path``, ``row``, ``column`` as far as known and ``reason``.
        request_id: Id of the request, as in the server's logs.
        retry_after: Seconds after which trying again makes sense.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        details: list[dict[str, Any]] | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.details = details or []
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"{self.detail} [{self.code or 'error'}, HTTP {self.status}]"
        for place in self.details[:MAX_PLACES]:
            where = [f"{key} {place[key]}" for key in ("path", "row", "column") if place.get(key) is not None]
            text += f"\n  {', '.join(where)}: {place.get('reason', '')}"
        hidden = len(self.details) - MAX_PLACES
        return f"{text}\n  and {hidden} more" if hidden > 0 else text

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by its positional arguments, and these are by name.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[ApiError], args: tuple[Any, ...], state: dict[str, Any]) -> ApiError:
    error = kind(*args)
    error.__dict__.update(state)
    return error


class BadRequestError(ApiError, ValueError):
    """400: the request cannot be read, or names an unknown field."""


class UnauthorizedError(ApiError):
    """401: no key, or one that is not known."""


class ForbiddenError(ApiError):
    """403: the key lacks the scope."""


class NotFoundError(ApiError, LookupError):
    """404: there is no such thing."""


class ConflictError(ApiError):
    """409: it exists already, is in use, or needs ``schema_change``."""


class TooLargeError(ApiError):
    """413: larger than the server's limit."""


class UnsupportedError(ApiError):
    """415: a format or encoding that the server does not read."""


class UnprocessableError(ApiError, ValueError):
    """422: readable, but the data does not fit; ``details`` says where."""


class OverloadedError(ApiError):
    """429: a queue is full or a rate limit is reached; see ``retry_after``."""


class UnavailableError(ApiError):
    """503: starting, draining, or no version is ready."""


class RequestTimeoutError(ApiError):
    """408 or 504: the request took longer than the server allows."""


class DiskFullError(ApiError):
    """507: no space, or a quota is reached."""


class ServerFaultError(ApiError):
    """500 and what else the server cannot help; the cause is in its log under ``request_id``."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    408: RequestTimeoutError,
    409: ConflictError,
    413: TooLargeError,
    415: UnsupportedError,
    422: UnprocessableError,
    429: OverloadedError,
    503: UnavailableError,
    504: RequestTimeoutError,
    507: DiskFullError,
}


def error_from(status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The exception for an answer with an error status; ``problem`` is its body, of either protocol."""
    kind = _BY_STATUS.get(status, ServerFaultError if status >= 500 else ApiError)
    return kind(
        str(problem.get("detail") or problem.get("error") or problem.get("title") or "the server answered with an error"),
        status=status,
        code=str(problem.get("code", "")),
        details=list(problem.get("details", [])),
        request_id=str(problem.get("request_id", "")),
        retry_after=retry_after,
    )


class JobFailedError(KenyonError):
    """A job ended as ``failed`` or ``canceled``; ``job`` is its last state, ``details`` as in :class:`ApiError`."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        super().__init__(job)
        self.job = dict(job)
        error = job.get("error") or {}
        self.code = str(error.get("code", job.get("status", "failed")))
        self.detail = str(error.get("detail", f"the job was {job.get('status')}"))
        self.details: list[dict[str, Any]] = list(error.get("details", []))

    def __str__(self) -> str:
        return f"job {self.job.get('id')} ({self.job.get('kind')} of {self.job.get('model')}): {self.detail} [{self.code}]"
