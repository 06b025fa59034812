"""Models, their versions and their answers."""

from typing import Any, NotRequired, TypedDict

from .data import DataWarning
from .figures import (
    ClassRecall,
    Consolidation,
    Energy,
    Explanation,
    LayerActivity,
    Macs,
    MemoryEntry,
    MemoryFill,
    Prequential,
    ShadowFigures,
    Sparsity,
    StreamDrift,
    StreamHorizon,
    StreamPoint,
    KnownRange,
)
from .names import ColumnKind, EvaluatedKind, Guarantee, Row, Task, VersionState


class Canary(TypedDict):
    """A version that gets a share of the requests."""

    version: int
    weight: float


class Traffic(TypedDict):
    """Which versions answer."""

    stable: int | None
    canary: Canary | None
    shadow: int | None


class Feature(TypedDict):
    """An input of a model."""

    name: str
    kind: ColumnKind
    shape: NotRequired[list[int] | None]
    channels: NotRequired[int | None]
    members: NotRequired[list[str] | None]


class LeftOut(TypedDict):
    """A column that a model does not learn from."""

    name: str
    reason: str


class ModelSchema(TypedDict):
    """What a model reads and answers."""

    features: list[Any] | None
    target: Any
    classes: list[Any] | None
    left_out: list[LeftOut] | None


class EvaluatedOn(TypedDict):
    """The rows that metrics are measured on."""

    rows: int
    kind: EvaluatedKind


class Version(TypedDict):
    """A version of a model; ``held_out`` has confusion, calibration and residuals where ``detail`` is requested."""

    version: int
    state: VersionState
    family: str
    metrics: dict[str, Any]
    bytes: int
    job_id: str | None
    dataset: NotRequired[Any]
    held_out: NotRequired[Any]
    evaluated_on: NotRequired[EvaluatedOn | None]
    intervals: NotRequired[dict[str, list[float]] | None]
    guarantee: NotRequired[Guarantee | None]
    warnings: NotRequired[list[DataWarning]]
    created_at: str


class Versions(TypedDict):
    """Versions of a model, newest first."""

    items: list[Version]
    next_cursor: str | None


class Model(TypedDict):
    """A model; ``config``, ``notes``, ``versions`` and ``shadow`` where one model is requested."""

    name: str
    family: str | None
    family_reason: NotRequired[str | None]
    task: Task | None
    target: str
    version: int | None
    schema: ModelSchema
    config: NotRequired[Any]
    notes: NotRequired[Any]
    warnings: NotRequired[list[DataWarning]]
    metrics: dict[str, Any] | None
    bytes: int | None
    sparsity: NotRequired[Sparsity | None]
    traffic: Traffic
    versions: NotRequired[list[Version]]
    shadow: NotRequired[ShadowFigures | None]
    created_at: str
    updated_at: str


class ModelPage(TypedDict):
    """Some models, and where the next ones are."""

    items: list[Model]
    next_cursor: str | None


class Prediction(TypedDict, total=False):
    """The answer to a row: ``label`` with ``probability``, or ``value``."""

    prediction_id: str
    label: Any
    probability: float
    probabilities: dict[str, float]
    set: list[Any]
    value: float
    interval: list[float]
    novelty: float
    abstained: bool
    verdict: str
    explanation: Explanation


class Predictions(TypedDict):
    """The answers to some rows."""

    model: str
    version: int
    predictions: list[Prediction]


class Embeddings(TypedDict):
    """Activations of a layer for some rows."""

    model: str
    version: int
    layer: str
    width: int
    embeddings: list[Any]


class Neighbor(TypedDict):
    """A remembered row that is near."""

    id: str
    label: NotRequired[Any]
    value: NotRequired[float]
    similarity: float
    row: Row | None


class Neighbors(TypedDict):
    """The nearest remembered rows of some rows."""

    model: NotRequired[str]
    version: NotRequired[int]
    neighbors: list[list[Neighbor]]


class FeatureImportance(TypedDict):
    """How much a feature matters."""

    name: str
    importance: float
    interval: list[float]


class Importance(TypedDict):
    """How much each feature matters on held-out rows."""

    version: int
    metric: str
    rows: int
    features: list[FeatureImportance]


class VersionComparison(TypedDict):
    """Two versions on the same rows."""

    versions: list[int]
    learned_from: NotRequired[list[int]]
    rows: int
    metrics: dict[str, dict[str, Any]]
    disagree: list[dict[str, Any]]


class Observed(TypedDict):
    """What observing rows did."""

    observed: int
    version: int
    prequential: Prequential
    drift: StreamDrift
    memory: MemoryFill


class MemoryPage(TypedDict):
    """Some remembered rows."""

    items: list[MemoryEntry]
    next_cursor: str | None
    entries: NotRequired[int]
    capacity: NotRequired[int]


class LogReach(TypedDict):
    """How far a stream's log reaches back."""

    complete: bool
    rows_before: int
    since: NotRequired[str | None]


class Forgotten(TypedDict):
    """What forgetting did."""

    forgotten: int
    entries: int
    retrained_at: str
    rows: NotRequired[int]
    recent_predictions: NotRequired[int]
    exact: NotRequired[bool]
    log: NotRequired[LogReach]
    statement: NotRequired[str]


class KeyShare(TypedDict):
    """What a key has contributed to a stream."""

    key: NotRequired[str | None]
    rows: int
    labelled: int
    quarantined: int
    share: float
    accuracy: NotRequired[float | None]
    mae: NotRequired[float | None]


class QuarantinedRow(TypedDict):
    """A row that was held back."""

    at: int
    key: NotRequired[str | None]
    row: NotRequired[dict[str, Any] | None]


class StreamQuarantine(TypedDict):
    """Rows of a stream that were held back: novel, and their labels contradict their neighbours."""

    rows: int
    newest: list[QuarantinedRow]


class StreamReport(TypedDict):
    """Prequential figures over the life of a stream, and drift."""

    model: str
    version: int
    observed: int
    labelled: int
    unlabelled: int
    prequential: Prequential
    drift: StreamDrift
    history: list[StreamPoint]
    horizon: NotRequired[list[StreamHorizon]]
    classes: dict[str, ClassRecall]
    memory: MemoryFill
    consolidations: list[Consolidation]
    forgotten_since: NotRequired[Any]
    keys: NotRequired[list[KeyShare]]
    quarantine: NotRequired[StreamQuarantine]


class Activity(TypedDict):
    """How much of a network works for a prediction."""

    version: int
    rows: int
    layers: list[LayerActivity]
    classes: list[str]
    known_ranges: list[KnownRange]
    macs: Macs
    energy_joules: Energy
    bytes: int


class Imported(TypedDict):
    """A version that was imported."""

    model: str
    version: int
    family: str
    metrics: dict[str, Any]
