"""Datasets, their columns, what was noticed about them, and what a training would do."""

from typing import Any, NotRequired, TypedDict

from .names import ColumnKind, Row, Task


class WarningExample(TypedDict):
    """A cell that a warning is about."""

    row: int
    value: Any


class DataWarning(TypedDict):
    """Something the user should know about data or a model."""

    code: str
    column: str | None
    detail: str
    rows: int
    examples: list[WarningExample]


class Column(TypedDict):
    """A column of a dataset with its statistics."""

    name: str
    kind: ColumnKind
    missing: int
    distinct: int
    min: float | None
    max: float | None
    mean: float | None
    examples: NotRequired[list[Any]]
    histogram: NotRequired[list[tuple[str, int]]]
    whole: NotRequired[bool]
    shape: NotRequired[list[int] | None]
    members: NotRequired[list[str] | None]
    unused: NotRequired[str | None]
    series: NotRequired[bool]
    words: NotRequired[list[tuple[str, int]]]
    spelling: NotRequired[dict[str, Any] | None]


class Dataset(TypedDict):
    """A dataset; ``preview`` holds its first rows where one dataset is requested."""

    name: str
    rows: int
    bytes: int
    digest: str
    revision: int | None
    columns: list[Column]
    warnings: NotRequired[list[DataWarning]]
    read_as: NotRequired[dict[str, Any] | None]
    preview: NotRequired[list[Row]]
    dry_run: NotRequired[bool]
    created_at: str | None
    updated_at: str | None


class DatasetPage(TypedDict):
    """Some datasets, and where the next ones are."""

    items: list[Dataset]
    next_cursor: str | None


class DatasetRows(TypedDict):
    """Rows of a dataset."""

    rows: list[Row]
    offset: int
    total: int


class Appended(TypedDict):
    """What an append did."""

    appended: int
    rows: int
    warnings: NotRequired[list[DataWarning]]


class PlannedColumn(TypedDict):
    """What a training would do with a column."""

    name: str
    kind: ColumnKind
    used: bool
    reason: str | None


class PlannedSplit(TypedDict):
    """Rows that are learned from and rows that are held out."""

    by: str
    column: NotRequired[str | None]
    training: int
    validation: int


class DryRun(TypedDict):
    """What a training would do."""

    task: Task
    task_reason: str
    family: str
    reason: str
    columns: list[PlannedColumn]
    split: PlannedSplit
    estimated_seconds: float
    estimated_bytes: int
    device: str
    warnings: list[DataWarning]
