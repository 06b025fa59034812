"""Jobs and what happens to them."""

from typing import Any, NotRequired, TypedDict

from .data import DataWarning
from .names import JobKind, JobStatus


class Progress(TypedDict, total=False):
    """How far a job is."""

    epoch: int
    epochs: int
    step: int
    steps: int
    fraction: float
    rows_per_second: float
    eta_seconds: float
    device: str


class JobError(TypedDict):
    """Why a job ended."""

    code: str
    detail: str
    details: NotRequired[list[dict[str, Any]]]


class Job(TypedDict):
    """Work that runs by itself; lists and objects of ``result`` where one job is requested."""

    id: str
    kind: JobKind
    model: str | None
    version: int | None
    dataset: NotRequired[str | None]
    status: JobStatus
    priority: int
    progress: Progress | None
    metrics: dict[str, Any] | None
    result: NotRequired[Any]
    served: NotRequired[bool | None]
    served_reason: NotRequired[str | None]
    warnings: NotRequired[list[DataWarning]]
    attempt: int
    resumed_from_step: int
    worker: str | None
    cancel_requested: NotRequired[bool]
    error: JobError | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class JobPage(TypedDict):
    """Some jobs, and where the next ones are."""

    items: list[Job]
    next_cursor: str | None


class JobMetrics(TypedDict):
    """The curves of a job."""

    points: list[dict[str, Any]]


class JobEvent(TypedDict):
    """Something that happened to a job: ``status``, ``progress``, ``metric`` or ``log``."""

    id: str
    event: str
    data: dict[str, Any]
