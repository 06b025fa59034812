# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.models`` uses."""

from typing import Any, Literal, NotRequired, TypedDict

from .common import ColumnKind, DatasetName, Family, Job, JobId, Label, ModelName, Problem, Row, Spelling, Warning


class ActiveUnit(TypedDict):
    """An active unit."""

    #: Its number.
    unit: int
    #: Its activation.
    activation: float


class DutyCycle(TypedDict):
    """How often the units of a layer are active."""

    #: The least active unit.
    min: NotRequired[float | None]
    #: The one in the middle.
    median: NotRequired[float | None]
    #: The most active one.
    max: NotRequired[float | None]


class MeasureSummary(TypedDict):
    """Distribution of a measure."""

    #: Mean.
    mean: float
    #: Standard deviation.
    deviation: float
    #: Quantiles 0.05, 0.25, 0.5, 0.75 and 0.95.
    quantiles: list[float]


class SparseCoding(TypedDict):
    """Sparse-coding measures of a layer's activity over a set of stimuli."""

    #: Number of stimuli.
    stimuli: int
    #: Number of units.
    units: int
    #: Share of activations that are not 0.
    active_share: float
    #: Units that respond to no stimulus; they have no sparseness and are left out of the means over units.
    silent_units: int
    #: Stimuli to which no unit responds; left out of the means over stimuli.
    silent_stimuli: int
    #: Treves–Rolls sparseness of each unit over the stimuli, from 0 (equal responses to all) to 1 (a response to one).
    lifetime: NotRequired[MeasureSummary | None]
    #: Treves–Rolls sparseness of the units for each stimulus.
    population: NotRequired[MeasureSummary | None]
    #: Hoyer's sparseness of each unit over the stimuli.
    lifetime_hoyer: NotRequired[MeasureSummary | None]
    #: Hoyer's sparseness of the units for each stimulus.
    population_hoyer: NotRequired[MeasureSummary | None]
    #: How many dimensions the activity fills: the squared sum of the covariance's eigenvalues, divided by the sum of
    #: their squares. Missing where the activity does not vary.
    participation_ratio: NotRequired[float | None]
    #: Selectivity of each unit for the class it responds to most: ``(best − rest) / (best + rest)`` of the mean
    #: responses, where ``rest`` is the mean over the other classes. Missing without classes.
    selectivity: NotRequired[MeasureSummary | None]
    #: How many units respond most to each class.
    preferred: list[int]
    #: Mean over units of the responses to all stimuli, strongest first, each unit's largest set to 1; at
    #: ``TUNING_POINTS`` shares of the stimuli.
    tuning_curve: list[float]


class LayerActivity(TypedDict):
    """Activity of a layer."""

    #: Its name.
    name: str
    #: Its units.
    units: int
    #: Units that are active for a row.
    winners: float
    #: Their share.
    active_share: float
    #: Units that were active for no row.
    dead_units: int
    #: How often units are active.
    duty_cycle: DutyCycle
    #: Sparse coding over the rows; null with fewer than two.
    sparse_coding: SparseCoding | None


class KnownRange(TypedDict):
    """A measure of sparse coding as it was found in a nervous system."""

    #: The field of ``sparse_coding`` that it is comparable with.
    measure: str
    #: The low end.
    low: float
    #: The high end.
    high: float
    #: What was recorded.
    of: str
    #: Where it was published.
    source: str


class Macs(TypedDict):
    """Multiply-accumulates."""

    #: Of the dense network of the same size.
    dense: float
    #: Effective ones.
    effective: float
    #: Comparisons that find the winners.
    top_k: float
    #: Those of searching the memory.
    memory: float


class Energy(TypedDict):
    """Energy of a prediction in joules."""

    #: Measured by the machine's counters, where there are some.
    measured: NotRequired[float | None]
    #: From the operations.
    estimated: float
    #: The method.
    method: str


class Activity(TypedDict):
    """Counts from a running network, a prediction each."""

    #: The version that was counted.
    version: int
    #: Rows it was counted on.
    rows: int
    #: The layers, from the input on.
    layers: list[LayerActivity]
    #: The classes of the rows, where they are labelled, in the order of ``preferred``.
    classes: list[str]
    #: Measures of sparse coding as they were found in nervous systems.
    known_ranges: list[KnownRange]
    #: Multiply-accumulates.
    macs: Macs
    #: Energy per prediction.
    energy_joules: Energy
    #: Bytes of the weights.
    bytes: int


class Attended(TypedDict):
    """A token's share of the attention."""

    #: The column it comes from.
    name: str
    #: Its index among the row's tokens.
    token: int
    #: Its share.
    weight: float
    #: How much lower the output is without it, where requested.
    left_out: NotRequired[float | None]
    #: The same.
    leave_one_out: NotRequired[float | None]


#: How an output is written.
OutputFormat = Literal["ndjson", "csv", "parquet"]


#: What the coverage of sets holds for.
Conditional = Literal["class"]


#: How the code of a layer is written.
EmbeddingForm = Literal["dense", "sparse"]


#: What computes a network.
Engine = Literal["auto", "kernels", "candle"]


class BatchRequest(TypedDict):
    """A dataset to answer."""

    #: Its name.
    dataset: DatasetName
    #: How the output is written.
    format: OutputFormat
    #: Share of the time that ``set``, or ``lower`` and ``upper``, are to hold the truth; 0.9 when missing.
    coverage: NotRequired[float | None]
    #: Whether ``set`` may be empty; by default the likeliest class is always included.
    allow_empty: NotRequired[bool]
    #: ``class`` for sets with that coverage among the rows of each class.
    conditional: NotRequired[Conditional | None]
    #: Novelty above which the verdict on a row is ``unfamiliar``; 0.99 by default.
    novelty_level: NotRequired[float | None]
    #: Classes listed with their probabilities; none when missing.
    top_k: NotRequired[int | None]
    #: Whether each answer is explained, which takes a few milliseconds a row.
    explain: NotRequired[bool]
    #: Adds a column with the activity of a layer, as ``POST …/embed`` gives it.
    embedding: NotRequired[EmbeddingForm | None]
    #: The layer of that activity; the last before the readout when missing.
    layer: NotRequired[str | None]
    #: What computes the network: candle where the server has a device and the family has a use for it, else the
    #: kernels.
    engine: NotRequired[Engine]
    #: The version that answers; the one that is served when missing.
    version: NotRequired[int | None]
    #: A dataset that the output becomes, too; one of that name is replaced.
    into: NotRequired[DatasetName | None]


class CalibrationBin(TypedDict):
    """One bin of a calibration curve."""

    #: Mean of the largest probability in the bin.
    confidence: float
    #: Share of its rows answered right.
    accuracy: float
    #: Rows in it, each counted once.
    rows: int


class Canary(TypedDict):
    """A version that gets a share of the requests."""

    #: Which.
    version: int
    #: Share of the requests, in ``[0, 1]``.
    weight: float


class ClassRecall(TypedDict):
    """The recall of a class."""

    #: Its rows.
    rows: int
    #: Its recall.
    recall: float


#: By the inverse of each class's share.
ClassWeightingWord = Literal["balanced"]


#: How much each class weighs in the loss.
ClassWeighting = ClassWeightingWord | dict[str, float]


#: The code of one row.
Code = list[float] | dict[str, Any]


#: Half of a pair of a name and a share; client generators do not support tuples.
NameOrShare = str | float


class ColumnChange(TypedDict):
    """A change of a column's distribution."""

    #: The column.
    column: str
    #: Rows observed by then.
    row: int
    #: When that row was observed, where it is known.
    at: NotRequired[str | None]
    #: The share of rows by which the distributions differ (total variation), from 0 to 1.
    distance: float
    #: Lower ends of bins, or values, and their share of the rows before.
    before: list[list[NameOrShare]]
    #: The same of the rows since.
    after: list[list[NameOrShare]]


class ColumnEncoder(TypedDict):
    """The pretrained encoder that reads a column."""

    #: Its name where the model was made.
    name: str
    #: SHA-256 of its files, which identifies it to the model.
    digest: NotRequired[str]


class ColumnPlan(TypedDict):
    """One column (or group of columns) to read."""

    #: Name of the feature (or the target).
    name: str
    #: How it is read.
    kind: ColumnKind
    #: The data's own columns where several are read as one, in order.
    members: NotRequired[list[str] | None]
    #: Shape of a vector or image, rows first.
    shape: NotRequired[list[int] | None]
    #: Channels of a sequence; 0 for a sequence of strings.
    channels: NotRequired[int | None]
    #: How its cells are spelled; none for plans from before this was stored.
    spelling: NotRequired[Spelling | None]
    #: Whether its values are classes, which keep the type and spelling of the data.
    labels: NotRequired[bool]
    #: The pretrained encoder that reads it.
    encoder: NotRequired[ColumnEncoder | None]


#: Which columns a group is made of.
ColumnsPattern = str | list[str]


class Consolidation(TypedDict):
    """The result of a consolidation."""

    #: Rows observed before it.
    rows: int
    #: Accuracy (or mean absolute error) on recent rows before and after.
    before: float
    #: See ``before``.
    after: float
    #: Whether the result was kept.
    accepted: bool
    #: Rows it was evaluated on.
    judged: int
    #: Rows that were forgotten before it: then its result is kept whatever its accuracy, because the experts before it
    #: had still learned from them.
    forgotten: int


class Contribution(TypedDict):
    """A feature's contribution."""

    #: The column, an element of it, or a word of it.
    name: str
    #: What it adds.
    weight: float
    #: Its value in this row.
    value: NotRequired[Any]
    #: Of a word: where it begins in the text.
    start: NotRequired[int | None]
    #: Of a word: where it ends.
    end: NotRequired[int | None]
    #: Of an image or series: the contributions of its parts.
    map: NotRequired[list[list[float]] | None]


class Coverage(TypedDict):
    """Reliability of the sets at one coverage."""

    #: The requested share.
    asked: float
    #: The observed share.
    reached: float
    #: Mean number of classes in a set, or mean width of an interval.
    size: float


class Disagreement(TypedDict):
    """A row that two models answer differently."""

    #: Its number in the data, from 0.
    row: int
    #: The answer of the first.
    a: Any
    #: The answer of the second.
    b: Any
    #: What it is.
    truth: Any


#: How a column divides the rows.
DivideRowsBy = Literal["time", "group"]


class DroppedColumn(TypedDict):
    """A column the encoder left out, and the reason."""

    #: Name of the column.
    name: str
    #: The reason, one sentence.
    reason: str


#: The task.
Task = Literal["classification", "regression"]


class PlannedColumn(TypedDict):
    """A column and how it is used."""

    #: Its name.
    name: str
    #: How it is read.
    kind: ColumnKind
    #: Whether it is an input of the model.
    used: bool
    #: Why it is not used, or why it is read as this kind.
    reason: NotRequired[str | None]


class PlannedSplit(TypedDict):
    """Rows used for training and rows held out."""

    #: ``folds``, ``share``, ``time``, ``group`` or ``dataset``.
    by: str
    #: Of ``folds``, how many members there are; each learns from ``training`` rows and is evaluated on ``validation``
    #: others.
    folds: NotRequired[int | None]
    #: The column that defines the split.
    column: NotRequired[str | None]
    #: Training rows.
    training: int
    #: Rows held out.
    validation: int


class DryRun(TypedDict):
    """What a training would do."""

    #: The task.
    task: Task
    #: The reason.
    task_reason: str
    #: The family that would be trained.
    family: Family
    #: The reason.
    reason: str
    #: Every column of the data.
    columns: list[PlannedColumn]
    #: Rows on both sides.
    split: PlannedSplit
    #: Estimated seconds from start to end.
    estimated_seconds: float
    #: Estimated bytes of memory.
    estimated_bytes: int
    #: The device that it would be trained on: ``cpu``, ``cuda:N`` or ``metal``.
    device: str
    #: Warnings about the data.
    warnings: list[Warning]


class EmbedRows(TypedDict):
    """Rows to encode."""

    #: The rows, as for a prediction, 4096 at most.
    rows: list[dict[str, Any]]
    #: A layer of ``/activity``, or ``features`` for the whole input of the readout; the last layer when missing.
    layer: NotRequired[str | None]
    #: Whether only the units that are not zero are listed.
    sparse: NotRequired[bool]


#: A column kind, or ``ignore`` to leave the column out.
FeatureKind = Literal[
    "number", "category", "boolean", "timestamp", "text", "vector", "sequence", "image", "duration", "ignore",
]


class FeatureGroup(TypedDict):
    """Several columns read as one feature."""

    #: What they are together: ``vector``, ``sequence`` or ``image``.
    kind: FeatureKind
    #: A pattern (``t*``) or a list of names; the feature's own name when missing.
    columns: NotRequired[ColumnsPattern | None]
    #: Channels of a sequence; its columns hold step-major values.
    channels: NotRequired[int | None]
    #: Shape of a vector or image, rows first.
    shape: NotRequired[list[int] | None]
    #: The pretrained encoder that reads a text or an image; ``none`` for a text's words alone. Without it a training
    #: tries those of texts that there are.
    encoder: NotRequired[str | None]


#: How a training request sets a column's reading: ``"zip":"category"``, ``"id":"ignore"``, or a group.
FeatureSpec = FeatureKind | FeatureGroup


class StreamSettings(TypedDict):
    """Settings of the family, and a seed; null is as if missing."""

    #: Filters of a patch, or units of a text projection / 16. Default: 128.
    units: NotRequired[int | None]
    #: Filters that win at each position. Default: 6.
    winners: NotRequired[int | None]
    #: Side of a patch; null: 5, or 3 for small images.
    patch: NotRequired[int | None]
    #: Distance between patches; null: from the size.
    stride: NotRequired[int | None]
    #: Cells a side that positions are pooled to. Default: 4.
    pool: NotRequired[int | None]
    #: Groups of units over columns of a table.
    groups: NotRequired[int | None]
    #: Null: selected on rows set aside.
    shrinkage: NotRequired[float | None]
    #: Whether the filters learn from the inputs before they are frozen. Default: "hebbian".
    plasticity: NotRequired[Literal["hebbian", "none"] | None]
    #: Copies of each picture that are learned with it: slightly shifted, rotated, scaled, sheared and bent.
    deformed_copies: NotRequired[int | None]
    #: How far copies differ from their picture. Default: 1.0.
    deformation: NotRequired[float | None]
    #: Whether parts of the rows are left out in turn to calibrate by, so that none are held out.
    cross_fit: NotRequired[bool | None]
    #: Memory entries of each class. Default: 100.
    memory_per_class: NotRequired[int | None]
    #: Whether the last labels of a stream are inputs for the next prediction; false where rows have no order. Default:
    #: true.
    recent_labels: NotRequired[bool | None]
    #: Whether a stream holds back rows that are novel and whose label contradicts their neighbours. Default: false.
    quarantine: NotRequired[bool | None]
    #: Passes over the training rows.
    epochs: NotRequired[int | None]
    #: Rows learned from at once.
    batch_size: NotRequired[int | None]
    #: Passes without a better validation loss before training ends; 0 for never.
    early_stopping: NotRequired[int | None]
    #: What trains: Kenyon's kernels, on the CPU alone, or candle's autograd, on any device; auto is candle on a device
    #: and the kernels on the CPU. Default: "auto".
    engine: NotRequired[Literal["auto", "kernels", "candle"] | None]
    #: Whether rare classes weigh more, by the inverse of their share. Default: "none".
    class_weights: NotRequired[Literal["none", "balanced"] | None]
    #: Everything random follows from it.
    seed: NotRequired[int | None]


class EmptyModel(TypedDict):
    """A model that learns only by observing."""

    #: ``hybrid``, the family that learns row by row.
    family: NotRequired[str | None]
    #: Column to predict.
    target: str
    #: ``classification`` or ``regression``; without it classification, unless the first label is no whole number: that
    #: is refused (``task_needed``).
    task: NotRequired[Task | None]
    #: A kind per column, or a group of columns.
    features: dict[str, FeatureSpec]
    #: Settings; ``seed`` among them.
    config: NotRequired[StreamSettings]
    #: Classes in addition to those that are observed.
    classes: NotRequired[list[Label]]


#: Errors of the rows whose truth lies in a range.
QuantileErrors = TypedDict("QuantileErrors", {
    #: The smallest true value.
    "from": float,
    #: The largest.
    "to": float,
    #: The rows.
    "rows": int,
    #: Mean of predicted minus true value; here and below rows count by their weight.
    "bias": float,
    #: Mean absolute error.
    "mae": float,
    #: The share of rows whose interval at coverage 0.9 contains the truth; null without intervals.
    "coverage": NotRequired[float | None],
})


class Residuals(TypedDict):
    """Errors of predicted numbers."""

    #: True and predicted value of at most 400 rows, evenly taken in the order of the truth.
    points: list[list[float]]
    #: Lower ends of bins of predicted minus true value, and their rows. The first and the last hold all beyond them.
    histogram: list[list[float]]
    #: Rows in groups of equal size by their true value, the smallest first.
    quantiles: list[QuantileErrors]


class Evaluation(TypedDict):
    """The figures of a model on a dataset."""

    #: Rows with a known target, each counted once.
    rows: int
    #: Rows left out: no target, a class that is not one of the model's, or weight 0.
    skipped: int
    #: The column by which rows weigh in all shares and means, where the model was trained with it and the rows have it;
    #: rows are counted once everywhere.
    weight: NotRequired[str | None]
    #: ``accuracy``, ``macro_f1``, ``log_loss`` … or ``mae``, ``rmse``, ``r2``.
    metrics: dict[str, float | None]
    #: The classes, in the order of the matrix; empty for regression.
    classes: list[Any]
    #: Rows by true class (outer) and answer (inner), each counted once.
    confusion: list[list[int]]
    #: Share of each class's rows that was answered right.
    recall: list[float | None]
    #: Calibration curve: confidence and accuracy.
    calibration: list[CalibrationBin]
    #: How often conformal sets (or intervals) hold the truth.
    coverage: list[Coverage]
    #: Errors of predicted numbers in detail; null for classification.
    regression: NotRequired[Residuals | None]


class EvaluateAnswer(Evaluation):
    """Metrics of a version on a dataset."""

    #: The evaluated version.
    version: int
    #: Cells that did not fit and count as missing.
    warnings: NotRequired[list[Warning]]


class EvaluateRequest(TypedDict):
    """A dataset to evaluate on."""

    #: Its name.
    dataset: DatasetName


#: How rows were kept from the networks that are evaluated on them.
EvaluatedKind = Literal["out_of_fold", "held_out"]


class EvaluatedOn(TypedDict):
    """The rows that metrics are measured on."""

    #: Their number.
    rows: int
    #: How they were kept from what is evaluated.
    kind: EvaluatedKind


#: A kind of explanation.
ExplainHow = Literal["leave_one_out"]


#: Explanations: none, the network's own, or those and the effect of leaving out each attended token.
Explain = bool | ExplainHow


class Recalled(TypedDict):
    """A retrieved entry."""

    #: Its number in the memory, or that of its class.
    id: str
    #: Its class or value.
    label: Any
    #: Cosine of its key and the row's.
    similarity: float
    #: The stored row, as far as it was kept.
    row: NotRequired[dict[str, Any] | None]


class Explanation(TypedDict):
    """An explanation of one answer."""

    #: The output without contributions.
    bias: NotRequired[float]
    #: The mean output over a sample of training rows.
    baseline: NotRequired[float]
    #: The output of this row.
    output: NotRequired[float]
    #: Unit of outputs and weights: ``log-odds``, or the target.
    unit: NotRequired[str]
    #: Contributions, the largest first.
    features: list[Contribution]
    #: Sum of the contributions that are not listed.
    other: NotRequired[float]
    #: For families with attention, a weight a token; they sum to 1.
    attention: NotRequired[list[Attended]]
    #: For families with a memory: the retrieved entries.
    memories: NotRequired[list[Recalled]]
    #: Units that were active, strongest first.
    active_units: NotRequired[list[ActiveUnit]]


class ImportantFeature(TypedDict):
    """One feature."""

    #: The column.
    name: str
    #: How much the metric rises when the column has the values of other rows.
    importance: float
    #: Its 95 % confidence interval.
    interval: list[float]


class FeatureImportance(TypedDict):
    """The increase of the loss when a column has the values of other rows, feature by feature."""

    #: The metric: ``log_loss``, or ``mae`` in the target's unit.
    metric: str
    #: Held-out rows it was measured on.
    rows: int
    #: The most important first.
    features: list[ImportantFeature]


class FeedbackRequest(TypedDict):
    """The label of an earlier prediction."""

    #: The id from the answer of ``predict``.
    prediction_id: str
    #: The true label.
    target: Label


Filter = dict[str, Any]


class FindNeighbors(TypedDict):
    """Rows to look up."""

    #: The rows, as for a prediction, 1024 at most.
    rows: list[dict[str, Any]]
    #: How many neighbours of each. Default: 5.
    k: NotRequired[int]


class LogReach(TypedDict):
    """How far a stream's log reaches back."""

    #: Whether it holds every row that was learned and may be concerned.
    complete: bool
    #: Rows learned before it begins that may be concerned.
    rows_before: int
    #: When its first row was observed; null where it has none.
    since: NotRequired[str | None]


class ForgetAnswer(TypedDict):
    """The result of forgetting."""

    #: Entries removed.
    forgotten: int
    #: Entries left.
    entries: int
    #: When the experts no longer contain what was learned from them: ``next_consolidation``.
    retrained_at: str
    #: Rows removed from the log.
    rows: int
    #: Recent predictions removed, whose rows were kept for ``feedback``: those of calls with a row that matched.
    recent_predictions: int
    #: Whether the state after that consolidation is that of a model that never received the rows.
    exact: bool
    #: How far the log reaches back.
    log: LogReach
    #: All this in words, and what is not covered.
    statement: str


class ForgetByKey(TypedDict):
    """Rows that were learned from a key."""

    #: The id of a key; one other than the caller's own needs the scope ``admin``.
    by_key: str


class ForgetWhere(TypedDict):
    """Rows that match."""

    #: A value per column, at least one; a row goes when it has all of them.
    where: Filter


#: The rows to forget.
ForgetRequest = ForgetWhere | ForgetByKey


#: How often prediction sets and intervals contain the truth, on rows exchangeable with those they were calibrated on.
Guarantee = Literal["split_conformal", "cross_conformal", "none"]


class HeldOutBy(TypedDict):
    """The newest rows by a column, or whole groups of rows with the same value in it."""

    #: How the column divides the rows.
    by: DivideRowsBy
    #: The column.
    column: str
    #: Share of the rows; 0.2 when missing.
    share: NotRequired[float | None]


class HeldOutDataset(TypedDict):
    """All rows of another dataset."""

    #: Its name.
    dataset: DatasetName


#: Which rows are held out.
HeldOutRows = float | HeldOutBy | HeldOutDataset


class ImportAnswer(TypedDict):
    """An imported version."""

    #: The model.
    model: ModelName
    #: The version it became.
    version: int
    #: Its family.
    family: str
    #: Its metrics.
    metrics: dict[str, float | None]


class ImportanceAnswer(FeatureImportance):
    """The importance of a version's features."""

    #: The version.
    version: int


class InputDrift(TypedDict):
    """Changes of a stream's inputs."""

    #: Number of changes.
    count: int
    #: At which rows.
    rows: list[int]


class KeyShare(TypedDict):
    """What a key has contributed to a stream."""

    #: The key's id; null for rows without a key, ``*`` for keys beyond the first 200.
    key: NotRequired[str | None]
    #: Its rows.
    rows: int
    #: Those with a label.
    labelled: int
    #: Those that were held back.
    quarantined: int
    #: Its share of all rows.
    share: float
    #: How often its labels were as predicted before they were learned; low where it contradicts the others.
    accuracy: NotRequired[float | None]
    #: How far its labels were from the predictions.
    mae: NotRequired[float | None]


class LearnedFrom(TypedDict):
    """The dataset of a version, at the time of its training."""

    #: Its name.
    name: str
    #: Its revision.
    revision: int
    #: Its digest.
    digest: str


#: A summary of an answer in one word.
Verdict = Literal["sure", "unsure", "unfamiliar"]


class LineAnswer(TypedDict):
    """The answer to a row in a line."""

    #: The class that is named, or the number predicted.
    predicted: Label
    #: Its probability.
    probability: NotRequired[float]
    #: Classes that contain the truth with the requested coverage.
    set: NotRequired[list[Label]]
    #: Probabilities by class, the likeliest first; only where requested.
    probabilities: NotRequired[dict[str, float]]
    #: The lower bound at the requested coverage; null where too few rows were held out for it.
    lower: NotRequired[float | None]
    #: The largest.
    upper: NotRequired[float | None]
    #: How unlike the training data the row is.
    novelty: float
    #: The above in one word.
    verdict: Verdict
    #: The activity of a layer, where requested.
    embedding: NotRequired[Code]
    #: The explanation, where requested; without maps of lists, and null for a model without a background sample.
    explanation: NotRequired[Explanation | None]


class LineFault(TypedDict):
    """A row that does not fit."""

    #: Its number, from 0.
    row: int
    #: Why.
    error: str


class MemoryEntry(TypedDict):
    """An entry of the memory."""

    #: Its number.
    id: str
    #: Its merges and correct retrievals.
    uses: int
    #: The row, as far as it was kept.
    row: NotRequired[dict[str, Any] | None]
    #: Its class.
    label: NotRequired[Label]
    #: Its value.
    value: NotRequired[float]


class MemoryAnswer(TypedDict):
    """A page of a memory."""

    #: Entries, oldest first.
    items: list[MemoryEntry]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]
    #: Number of entries.
    entries: int
    #: Rows it can remember.
    capacity: int


class MemoryFill(TypedDict):
    """The size of a memory."""

    #: Number of entries.
    entries: int
    #: Rows it can remember.
    capacity: int


class ModelSchema(TypedDict):
    """The columns of a model; all null before its first version."""

    #: The columns it reads.
    features: NotRequired[list[ColumnPlan] | None]
    #: The column it predicts.
    target: NotRequired[ColumnPlan | None]
    #: The classes; empty for numbers.
    classes: NotRequired[list[Label] | None]
    #: Columns that are not inputs.
    left_out: NotRequired[list[DroppedColumn] | None]


class Sparsity(TypedDict):
    """Sparsity of a network."""

    #: Share of the units that is active.
    active_share: float
    #: Multiply-accumulates of the dense network of the same size.
    dense_macs: float
    #: Effective multiply-accumulates.
    effective_macs: float
    #: Bytes of its weights.
    bytes: int


class Traffic(TypedDict):
    """Which versions answer."""

    #: The version that is served.
    stable: NotRequired[int | None]
    #: A version that gets a share of the requests.
    canary: NotRequired[Canary | None]
    #: A version that predicts without being answered from, for comparison.
    shadow: NotRequired[int | None]


#: The state of a version.
VersionState = Literal["served", "ready", "shadow", "canary", "retired"]


class Version(TypedDict):
    """A version of a model."""

    #: Its number, from 1.
    version: int
    #: What it is used for.
    state: VersionState
    #: Its family.
    family: str
    #: Its metrics.
    metrics: dict[str, float | None]
    #: 95 % confidence intervals of metrics, lower and upper end, from resampling the rows of ``evaluated_on``; only
    #: where they are known.
    intervals: NotRequired[dict[str, list[float]] | None]
    #: The rows that the metrics are measured on; only where they are known.
    evaluated_on: NotRequired[EvaluatedOn | None]
    #: What is guaranteed of its sets and intervals; only where it is known.
    guarantee: NotRequired[Guarantee | None]
    #: Bytes of its files.
    bytes: int
    #: The job that made it.
    job_id: NotRequired[JobId | None]
    #: Its dataset.
    dataset: NotRequired[LearnedFrom | None]
    #: The evaluation on the rows of ``evaluated_on``. Unless ``detail`` is requested, ``classes``, ``confusion``,
    #: ``recall`` and ``calibration`` are empty and ``regression`` is null.
    held_out: NotRequired[Evaluation | None]
    #: Warnings of its training; without examples unless ``detail`` is requested.
    warnings: list[Warning]
    #: When it was made.
    created_at: str


class ShadowFigures(TypedDict):
    """A shadow's figures since this process began to compare."""

    #: The version that predicts without being answered from.
    version: int
    #: Rows it answered.
    rows: int
    #: Rows with another label.
    disagreed: int
    #: ``disagreed / rows``.
    disagreement: float
    #: Mean absolute difference: of the answered class's probability, or of the value.
    mean_difference: float
    #: Requests it did not get because it was busy.
    skipped: int


class Model(TypedDict):
    """A model, with metrics of the served version."""

    #: Its name.
    name: ModelName
    #: Its family, once it is known.
    family: NotRequired[str | None]
    #: Why this family is the default for its data, where the request named none.
    family_reason: NotRequired[str | None]
    #: The task, once it is known.
    task: NotRequired[Task | None]
    #: The column that is predicted.
    target: str
    #: The version that is served.
    version: NotRequired[int | None]
    #: The columns of its rows and of its target; in a list without the members of groups.
    schema: ModelSchema
    #: Settings in full; only for a single model, once they are known.
    config: NotRequired[dict[str, Any] | None]
    #: Decisions of its training; only for a single model, once they are known.
    notes: NotRequired[list[str] | None]
    #: Warnings of its training; in a list without examples.
    warnings: list[Warning]
    #: Metrics of the served version.
    metrics: NotRequired[dict[str, float | None] | None]
    #: Bytes of the served version's files.
    bytes: NotRequired[int | None]
    #: Sparsity of the served version.
    sparsity: NotRequired[Sparsity | None]
    #: Which versions answer.
    traffic: Traffic
    #: When it was made.
    created_at: str
    #: When it, its versions or its traffic last changed.
    updated_at: str
    #: Its versions, newest first, in the form of lists; only for a single model.
    versions: NotRequired[list[Version] | None]
    #: How the shadow compares with the answers; only for a single model that has one.
    shadow: NotRequired[ShadowFigures | None]


class ModelEmbeddings(TypedDict):
    """The codes of some rows."""

    #: The model.
    model: ModelName
    #: Its version.
    version: int
    #: The layer.
    layer: str
    #: How many units it has.
    width: int
    #: A code for each row, in their order.
    embeddings: list[Code]


class ModelPage(TypedDict):
    """A page of models."""

    #: The models, by name.
    items: list[Model]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]


class NeighborsAnswer(TypedDict):
    """The neighbours of some rows."""

    #: The model.
    model: ModelName
    #: Its version.
    version: int
    #: For each row, in their order, the remembered rows that are most similar to it, the most similar first.
    neighbors: list[list[Recalled]]


#: Which class an answer names. Probabilities are the same under each.
Objective = Literal["accuracy", "balanced"]


class Prequential(TypedDict):
    """Prequential metrics: each row is predicted before it is learned."""

    #: Rows with a label.
    rows: int
    #: Accuracy over all rows.
    accuracy: NotRequired[float]
    #: Mean absolute error over all rows.
    mae: NotRequired[float]
    #: Root mean squared error over all rows.
    rmse: NotRequired[float]
    #: Accuracy (or mean absolute error) over the last rows.
    window: float
    #: The number of these rows.
    window_rows: int
    #: The accuracy of predicting the last label.
    window_last_label: NotRequired[float]
    #: The error of predicting the last value.
    window_last_value: NotRequired[float]
    #: Accuracy of predicting the last label, over all rows.
    last_label: NotRequired[float]
    #: Agreement beyond that (kappa-temporal).
    kappa_last: NotRequired[float]


class StreamDrift(TypedDict):
    """Drift of a stream."""

    #: Whether a change was detected within the window.
    detected: bool
    #: Number of changes.
    count: int
    #: At which rows.
    rows: list[int]
    #: Rows over which the error counts as unchanged.
    adwin_window: int
    #: Changes of the inputs.
    inputs: InputDrift
    #: Columns whose distribution changed, oldest first; only where the whole stream is described.
    columns: NotRequired[list[ColumnChange]]


class ObserveAnswer(TypedDict):
    """The result of observing, once every row is durable."""

    #: Rows of this call.
    observed: int
    #: The version that learned them.
    version: int
    #: Prequential metrics.
    prequential: Prequential
    #: Drift of the stream.
    drift: StreamDrift
    #: The size of the memory.
    memory: MemoryFill


#: A line of an answer in lines: the metrics after a portion, or the error that ended it.
ObserveLine = ObserveAnswer | Problem


class ObserveRequest(TypedDict):
    """Rows to learn from."""

    #: Objects with the model's features and its target.
    rows: list[Row]


class PairedFigure(TypedDict):
    """A figure of two models."""

    #: Of the first.
    a: float
    #: Of the second.
    b: float
    #: ``b - a``.
    difference: float
    #: Bounds of the difference: the 2.5th and 97.5th percentile over resamples of the rows.
    interval: list[float]


class Paired(TypedDict):
    """How two models compare."""

    #: Rows that both answered, and whose truth is known; where rows weigh, those with a weight above 0.
    rows: int
    #: The column by which rows weigh in the figures, where both models were trained with it and the rows have it.
    weight: NotRequired[str | None]
    #: By the name of each figure.
    metrics: dict[str, PairedFigure]
    #: The first rows that they answer differently; of numbers those that they answer most differently.
    disagree: list[Disagreement]


class Prediction(TypedDict):
    """The answer to a row: a label with its probability, or a value."""

    #: The id for ``feedback``.
    prediction_id: str
    #: The class that is named: the likeliest, but for models of the objective ``balanced``.
    label: NotRequired[Label]
    #: Its probability.
    probability: NotRequired[float]
    #: Probabilities by class, the likeliest first.
    probabilities: NotRequired[dict[str, float]]
    #: Classes that contain the truth with the requested coverage; only where a coverage was given.
    set: NotRequired[list[Label]]
    #: The number predicted.
    value: NotRequired[float]
    #: Bounds that contain the truth with the requested coverage; only where one was given; null where too few rows were
    #: held out for it.
    interval: NotRequired[list[float] | None]
    #: How unlike the training data the row is.
    novelty: float
    #: Whether novelty is above the level.
    abstained: bool
    #: A summary in one word.
    verdict: NotRequired[Verdict]
    #: The explanation, where requested.
    explanation: NotRequired[Explanation]


class PredictAnswer(TypedDict):
    """Answers, a row each."""

    #: The model.
    model: str
    #: The version that answered.
    version: int
    #: In the order of the rows.
    predictions: list[Prediction]


#: A line of an answer in lines: that of a row, why a row was not answered, or why the answer ends early.
PredictLine = LineAnswer | LineFault | Problem


class PredictRequest(TypedDict):
    """Rows to answer."""

    #: Objects with the model's features.
    rows: list[Row]
    #: Number of listed labels, most likely first.
    top_k: NotRequired[int | None]
    #: Coverage of ``set`` and ``interval``.
    coverage: NotRequired[float | None]
    #: Whether ``set`` may be empty; by default the likeliest class is always included.
    allow_empty: NotRequired[bool | None]
    #: ``class`` for sets with that coverage among the rows of each class.
    conditional: NotRequired[Conditional | None]
    #: Novelty above which an answer abstains; 0.99 by default.
    novelty_level: NotRequired[float | None]
    #: Which explanations are requested.
    explain: NotRequired[Explain | None]
    #: A version by number.
    version: NotRequired[int | None]


class QuarantinedRow(TypedDict):
    """A row that was held back."""

    #: Its number among all rows.
    at: int
    #: The id of the key that sent it; null without keys.
    key: NotRequired[str | None]
    #: The row.
    row: NotRequired[dict[str, Any] | None]


class SearchRange(TypedDict):
    """A range of numbers."""

    #: The smallest.
    min: float
    #: The largest.
    max: float
    #: Equal chances for equal ratios instead of equal differences.
    log: NotRequired[bool | None]


#: A value of a setting.
SettingValue = str | float | bool | list[int]


#: The values one setting may take.
SearchSpace = list[SettingValue] | SearchRange


class SearchRequest(TypedDict):
    """What to search."""

    #: Configurations to try. Default: 20.
    trials: NotRequired[int]
    #: Settings to vary; the family's own search space when missing.
    space: NotRequired[dict[str, SearchSpace]]


class StreamPoint(TypedDict):
    """A point of the window's curve."""

    #: Rows by then.
    row: int
    #: Accuracy of the window.
    accuracy: NotRequired[float]
    #: Mean absolute error of the window.
    mae: NotRequired[float]
    #: When that row was observed.
    at: NotRequired[str | None]
    #: How often sets or intervals of coverage 0.9 held the truth, over the rows before.
    coverage: NotRequired[float | None]
    #: Entries in memory.
    memory: NotRequired[int | None]


class StreamHorizon(TypedDict):
    """Answers given some rows after the last one learned."""

    #: Rows since the last one learned.
    rows_since: int
    #: Rows that were answered so: all at 0, a sample at the others.
    rows: int
    #: Their accuracy; null before there are rows.
    accuracy: NotRequired[float | None]
    #: Their mean absolute error; null before there are rows.
    mae: NotRequired[float | None]
    #: How often sets or intervals of coverage 0.9 held the truth; at 0 as those of answers to whole calls of
    #: ``observe``, over the newest 500.
    coverage: NotRequired[float | None]


class StreamQuarantine(TypedDict):
    """Rows of a stream that were held back: novel, and their labels contradict their neighbours."""

    #: Their number.
    rows: int
    #: The newest 20.
    newest: list[QuarantinedRow]


class StreamAnswer(TypedDict):
    """Metrics of a stream over all rows."""

    #: The model.
    model: str
    #: The version that learns.
    version: int
    #: Number of rows.
    observed: int
    #: Those with a label.
    labelled: int
    #: Those without.
    unlabelled: int
    #: Prequential metrics.
    prequential: Prequential
    #: Drift of the stream.
    drift: StreamDrift
    #: Points of a curve of the window's figure.
    history: list[StreamPoint]
    #: How well rows are answered 0, 10, 100 and 1,000 rows after the last one learned: where labels come late, or rows
    #: are predicted far ahead.
    horizon: list[StreamHorizon]
    #: Rows and recall by class.
    classes: dict[str, ClassRecall]
    #: The size of the memory.
    memory: MemoryFill
    #: The consolidations.
    consolidations: list[Consolidation]
    #: Rows that were forgotten since the last of them.
    forgotten_since: int
    #: Rows that were held back, where the setting ``quarantine`` is on.
    quarantine: StreamQuarantine
    #: How many rows it learned from each key, the largest numbers first.
    keys: list[KeyShare]


#: The answer to a training request: the ended job, or the result of a dry run.
TrainAnswer = Job | DryRun


class TrainSettings(TypedDict):
    """Settings of the family and of training itself; null is as if missing. Which ones a family has, with defaults and
    limits, is in ``GET /api/v1/families``; one that it does not have is refused.
    """

    #: Units of each hidden layer; [] for a linear model.
    hidden: NotRequired[list[int] | None]
    #: Share of a layer's units that win a row.
    active_share: NotRequired[float | None]
    #: Receptive field of the first layer: share of a picture in a unit's window; 1 for all of it.
    field: NotRequired[float | None]
    #: Learning rate at its highest.
    learning_rate: NotRequired[float | None]
    #: How weights follow gradients; the rate of sgd is per row, that of adam per mini-batch. Default: "auto".
    optimizer: NotRequired[Literal["auto", "sgd", "adam"] | None]
    #: Decoupled weight decay; with adam.
    weight_decay: NotRequired[float | None]
    #: Dropout rate of winners in training.
    dropout: NotRequired[float | None]
    #: How strongly units that win too rarely are boosted.
    boost: NotRequired[float | None]
    #: Share of training in which winners get fewer, from all.
    anneal: NotRequired[float | None]
    #: Label smoothing: probability spread evenly over all classes.
    label_smoothing: NotRequired[float | None]
    #: Whether the row also reaches the answers directly. Default: true.
    skip: NotRequired[bool | None]
    #: Networks that are trained side by side and answer together; above 1, sizes are rounded up to sixteens.
    members: NotRequired[int | None]
    #: Whether each member leaves a part of the rows out and is evaluated on it, so that none are held out; with 2
    #: members or more.
    cross_fit: NotRequired[bool | None]
    #: Bins of a number, about as many rows in each; 0 for none.
    bins: NotRequired[int | None]
    #: Pairs of numbers that are read together, at most; those that explain the target together are chosen.
    pairs: NotRequired[int | None]
    #: Whether units that never win in an epoch are reinitialised. Default: true.
    revive: NotRequired[bool | None]
    #: Passes over the training rows.
    epochs: NotRequired[int | None]
    #: Rows learned from at once.
    batch_size: NotRequired[int | None]
    #: Passes without a better validation loss before training ends; 0 for never.
    early_stopping: NotRequired[int | None]
    #: What trains: Kenyon's kernels, on the CPU alone, or candle's autograd, on any device; auto is candle on a device
    #: and the kernels on the CPU. Default: "auto".
    engine: NotRequired[Literal["auto", "kernels", "candle"] | None]
    #: Whether rare classes weigh more, by the inverse of their share. Default: "none".
    class_weights: NotRequired[Literal["none", "balanced"] | None]
    #: Numbers a token is described by; by kind and number of rows if not given.
    width: NotRequired[int | None]
    #: Attention heads; they share the width. Default: 4.
    heads: NotRequired[int | None]
    #: Attention blocks; by kind and number of rows if not given: a few texts are read without.
    layers: NotRequired[int | None]
    #: Attention-pooling heads over the tokens, in addition to max pooling. Default: 2.
    reads: NotRequired[int | None]
    #: Pooled values of fixed filters over series columns, in all; 0 for none. Default: 4000.
    filters: NotRequired[int | None]
    #: Whether a series is read by filters alone, or also by filters over its differences and by competing kernels.
    series_features: NotRequired[Literal["filters", "all"] | None]
    #: Share of the blocks in an answer about series; the rest is that of the filters.
    blocks_share: NotRequired[float | None]
    #: Whether the readout of the filters is solved for, or learned by gradient steps.
    filter_readout: NotRequired[Literal["ridge", "gradient"] | None]
    #: Positions within a column with an embedding of their own. Default: 1024.
    positions: NotRequired[int | None]
    #: How often the question reads the slots. Default: 3.
    hops: NotRequired[int | None]
    #: Latest slots of a row that are read. Default: 256.
    slots: NotRequired[int | None]
    #: Whether hops scan the slots in order, or weigh all of them at once (a classic memory network), or stored vectors
    #: of a pretrained encoder answer (kernel ridge regression).
    read: NotRequired[Literal["ordered", "softmax", "kernel"] | None]
    #: Whether the name of each class is stored as a text of it where left-out rows are answered better so (kernel
    #: read). Default: true.
    class_names: NotRequired[bool | None]
    #: A gate for each number that is carried instead of one for a slot (ordered read); by the number of rows if not
    #: given.
    wide_gates: NotRequired[bool | None]
    #: Training rows stored where rows have no slots of their own. Default: 512.
    episodes: NotRequired[int | None]
    #: Number of restarts; the network with the least training error is trained further.
    restarts: NotRequired[int | None]
    #: Share of gaps in time while training (softmax read). Default: 0.1.
    time_noise: NotRequired[float | None]
    #: Read without softmax until validation stalls (softmax read). Default: true.
    linear_start: NotRequired[bool | None]
    #: Filters of a patch, or units of a text projection / 16. Default: 128.
    units: NotRequired[int | None]
    #: Filters that win at each position. Default: 6.
    winners: NotRequired[int | None]
    #: Side of a patch; null: 5, or 3 for small images.
    patch: NotRequired[int | None]
    #: Distance between patches; null: from the size.
    stride: NotRequired[int | None]
    #: Cells a side that positions are pooled to. Default: 4.
    pool: NotRequired[int | None]
    #: Groups of units over columns of a table.
    groups: NotRequired[int | None]
    #: Null: selected on rows set aside.
    shrinkage: NotRequired[float | None]
    #: Whether the filters learn from the inputs before they are frozen. Default: "hebbian".
    plasticity: NotRequired[Literal["hebbian", "none"] | None]
    #: Copies of each picture that are learned with it: slightly shifted, rotated, scaled, sheared and bent.
    deformed_copies: NotRequired[int | None]
    #: How far copies differ from their picture. Default: 1.0.
    deformation: NotRequired[float | None]
    #: Memory entries of each class. Default: 100.
    memory_per_class: NotRequired[int | None]
    #: Whether the last labels of a stream are inputs for the next prediction; false where rows have no order. Default:
    #: true.
    recent_labels: NotRequired[bool | None]
    #: Whether a stream holds back rows that are novel and whose label contradicts their neighbours. Default: false.
    quarantine: NotRequired[bool | None]


class TrainRequest(TypedDict):
    """A training request."""

    #: The dataset to train on.
    dataset: DatasetName
    #: Column to predict.
    target: str
    #: Chosen from the data when missing.
    family: NotRequired[Family | None]
    #: Inferred from the target when missing.
    task: NotRequired[Task | None]
    #: How columns are to be read.
    features: NotRequired[dict[str, FeatureSpec]]
    #: Which rows are held out; by the recipe when missing.
    validation: NotRequired[HeldOutRows | None]
    #: Everything random follows from it.
    seed: NotRequired[int]
    #: Higher runs first.
    priority: NotRequired[int]
    #: Settings of the family and of training itself.
    config: NotRequired[TrainSettings]
    #: Column with the weight of each row; it is not learned from.
    weight: NotRequired[str | None]
    #: How much each class weighs.
    class_weights: NotRequired[ClassWeighting | None]
    #: Which class is named.
    objective: NotRequired[Objective | None]
    #: Tries several configurations and trains the best in full.
    search: NotRequired[SearchRequest | None]
    #: Whether the version is served once it is ready. Default: true.
    promote: NotRequired[bool]
    #: Whether the version may need other rows than the served one, or predict something else.
    schema_change: NotRequired[bool]
    #: Only reports what the training would do.
    dry_run: NotRequired[bool]


class VersionComparison(Paired):
    """How two versions compare."""

    #: The versions: ``a``, then ``b``.
    versions: list[int]
    #: The versions that have learned from most of these rows, so that their figures are too good: trained on this
    #: dataset without members that left rows out.
    learned_from: NotRequired[list[int]]


class VersionPage(TypedDict):
    """The versions of a model."""

    #: The versions, newest first.
    items: list[Version]
    #: Always null: all versions are listed.
    next_cursor: NotRequired[str | None]
