"""Comparisons of models with neural recordings."""

from typing import Any, TypedDict

from .jobs import JobError
from .names import JobStatus


class ListedComparison(TypedDict):
    """A comparison in a list."""

    id: str
    status: JobStatus
    systems: list[str]
    distance: str | None
    compare: str
    reference: str | None
    created_at: str
    finished_at: str | None


class ComparisonPage(TypedDict):
    """Some comparisons, and where the next ones are."""

    items: list[ListedComparison]
    next_cursor: str | None


class ComparedSystem(TypedDict):
    """A system as it was read."""

    name: str
    version: int | None
    layer: str | None
    channels: int | None
    distance: str | None
    conditions: int
    subjects: list[str]
    notes: list[str]


class Similarity(TypedDict):
    """How similar two systems are."""

    a: str
    b: str
    value: float
    per_subject: list[float]
    standard_error: float | None
    interval: list[float] | None
    p_zero: float | None
    q_zero: float | None
    p_ceiling: float | None
    q_ceiling: float | None


class SimilarityCeiling(TypedDict):
    """Between which similarities the best possible system lies."""

    lower: float
    upper: float


class PairOfSystems(TypedDict):
    """Which of two systems fits the reference better."""

    a: str
    b: str
    difference: float
    standard_error: float
    p: float
    q: float


class MixtureOfSystems(TypedDict):
    """The best non-negative mixture of some systems."""

    systems: list[str]
    weights: list[float]
    value: float
    per_subject: list[float]
    standard_error: float | None
    folds: int


class EncodingFit(TypedDict):
    """How much of recorded responses a system predicts."""

    system: str
    explained: float
    explainable: float | None
    per_subject: list[float]
    standard_error: float | None
    channels: int


class DroppedCondition(TypedDict):
    """A stimulus that was left out."""

    condition: str
    reason: str


class BootstrapDone(TypedDict):
    """What the bootstrap drew."""

    samples: int
    over: list[str]
    seed: int
    degrees_of_freedom: int


class ListedRdm(TypedDict):
    """A dissimilarity matrix: the pairs (0,1), (0,2), …, (1,2), …."""

    system: str
    subject: str | None
    values: list[float]


class Comparison(TypedDict):
    """What a comparison found; empty until its job has succeeded."""

    id: str
    status: JobStatus
    error: JobError | None
    request: dict[str, Any]
    created_at: str
    finished_at: str | None
    systems: list[ComparedSystem]
    similarity: list[Similarity]
    noise_ceiling: SimilarityCeiling | None
    pairwise: list[PairOfSystems]
    weighting: MixtureOfSystems | None
    encoding: list[EncodingFit]
    conditions: list[str]
    dropped: list[DroppedCondition]
    bootstrap: BootstrapDone | None
    rdms_left_out: int
    rdms: list[ListedRdm]
