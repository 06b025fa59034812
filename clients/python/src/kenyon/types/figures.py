"""Figures: what was measured of models, networks and streams, and reasons of answers. Drafted by ``generate.py draft``."""

from typing import Any, NotRequired, TypedDict


class DutyCycle(TypedDict):
    """How often the units of a layer are active."""

    min: NotRequired[float | None]
    median: NotRequired[float | None]
    max: NotRequired[float | None]


class MeasureSummary(TypedDict):
    """The distribution of a measure; quantiles 0.05, 0.25, 0.5, 0.75 and 0.95."""

    mean: float
    deviation: float
    quantiles: list[float]


class SparseCoding(TypedDict):
    """Measures of sparse coding of a layer."""

    stimuli: int
    units: int
    active_share: float
    silent_units: int
    silent_stimuli: int
    lifetime: NotRequired[MeasureSummary | None]
    population: NotRequired[MeasureSummary | None]
    lifetime_hoyer: NotRequired[MeasureSummary | None]
    population_hoyer: NotRequired[MeasureSummary | None]
    participation_ratio: NotRequired[float | None]
    selectivity: NotRequired[MeasureSummary | None]
    preferred: list[int]
    tuning_curve: list[float]


class KnownRange(TypedDict):
    """A measure of sparse coding as it was found in a nervous system."""

    measure: str
    low: float
    high: float
    of: str
    source: str


class LayerActivity(TypedDict):
    """A layer at work."""

    name: str
    units: int
    winners: float
    active_share: float
    dead_units: int
    duty_cycle: DutyCycle
    sparse_coding: NotRequired[SparseCoding | None]


class Macs(TypedDict):
    """Multiply-accumulates."""

    dense: float
    effective: float
    top_k: float
    memory: float


class Energy(TypedDict):
    """Energy of a prediction in joules."""

    measured: NotRequired[float | None]
    estimated: float
    method: str


class CalibrationBin(TypedDict):
    """One bin of a calibration curve."""

    confidence: float
    accuracy: float
    rows: int


class Coverage(TypedDict):
    """Reliability of the sets at one coverage."""

    asked: float
    reached: float
    size: float


class Sparsity(TypedDict):
    """How sparse a network is at work."""

    active_share: float
    dense_macs: float
    effective_macs: float
    bytes: int


class ShadowFigures(TypedDict):
    """A shadow's figures since this process began to compare."""

    version: int
    rows: int
    disagreed: int
    disagreement: float
    mean_difference: float
    skipped: int


class Prequential(TypedDict):
    """Each row is answered before it is learned: figures of those answers."""

    rows: int
    accuracy: NotRequired[float]
    mae: NotRequired[float]
    rmse: NotRequired[float]
    window: float
    window_rows: int
    window_last_label: NotRequired[float]
    window_last_value: NotRequired[float]
    last_label: NotRequired[float]
    kappa_last: NotRequired[float]


class InputDrift(TypedDict):
    """Changes of a stream's inputs."""

    count: int
    rows: list[int]


class StreamDrift(TypedDict):
    """Whether a stream has changed."""

    detected: bool
    count: int
    rows: list[int]
    adwin_window: int
    inputs: InputDrift


class MemoryFill(TypedDict):
    """How full a memory is."""

    entries: int
    capacity: int


class MemoryEntry(TypedDict):
    """A remembered row."""

    id: str
    uses: int
    row: NotRequired[dict[str, Any] | None]
    label: NotRequired[str | float | bool]
    value: NotRequired[float]


class StreamPoint(TypedDict):
    """A point of the window's curve."""

    row: int
    accuracy: NotRequired[float]
    mae: NotRequired[float]
    at: NotRequired[str | None]
    coverage: NotRequired[float | None]
    memory: NotRequired[int | None]


class StreamHorizon(TypedDict):
    """Answers given some rows after the last one learned."""

    rows_since: int
    rows: int
    accuracy: NotRequired[float | None]
    mae: NotRequired[float | None]
    coverage: NotRequired[float | None]


class Consolidation(TypedDict):
    """What a consolidation did."""

    rows: int
    before: float
    after: float
    accepted: bool
    judged: int
    forgotten: int


class ClassRecall(TypedDict):
    """How well a class is recognised."""

    rows: int
    recall: float


class Contribution(TypedDict):
    """A feature's contribution."""

    name: str
    weight: float
    value: NotRequired[Any]
    start: NotRequired[int | None]
    end: NotRequired[int | None]
    map: NotRequired[list[list[float]] | None]


class Attended(TypedDict):
    """A token's share of the attention."""

    name: str
    token: int
    weight: float
    left_out: NotRequired[float | None]
    leave_one_out: NotRequired[float | None]


class Recalled(TypedDict):
    """Something that was recalled."""

    id: str
    label: Any
    similarity: float
    row: NotRequired[dict[str, Any] | None]


class ActiveUnit(TypedDict):
    """An active unit."""

    unit: int
    activation: float


class Explanation(TypedDict):
    """Why a row was answered as it was."""

    bias: NotRequired[float]
    baseline: NotRequired[float]
    output: NotRequired[float]
    unit: NotRequired[str]
    features: list[Contribution]
    other: NotRequired[float]
    attention: NotRequired[list[Attended]]
    memories: NotRequired[list[Recalled]]
    active_units: NotRequired[list[ActiveUnit]]
