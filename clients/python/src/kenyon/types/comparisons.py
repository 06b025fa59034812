# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.comparisons`` uses."""

from typing import Any, Literal, NotRequired, TypedDict

from .common import DatasetName, EncoderName, JobId, JobStatus, ModelName


#: What a bootstrap draws.
Drawn = Literal["stimuli", "subjects"]


class BootstrapDone(TypedDict):
    """What the bootstrap drew."""

    #: Samples that had enough different stimuli.
    samples: int
    #: What was drawn.
    over: list[Drawn]
    #: The seed.
    seed: int
    #: Degrees of freedom of the tests; over stimuli and subjects the least that each of them has.
    degrees_of_freedom: int


class BootstrapRequest(TypedDict):
    """Settings of the bootstrap."""

    #: Number of samples. Default: 1000.
    samples: NotRequired[int]
    #: What is drawn with replacement: the result holds for others of these. Subjects are drawn only where the reference
    #: has several. Default: ["stimuli","subjects"].
    over: NotRequired[list[Drawn]]
    #: The samples follow from it. Default: 0.
    seed: NotRequired[int]


#: How the dissimilarity of two conditions is measured.
Distance = Literal["correlation", "euclidean", "mahalanobis", "crossnobis"]


class ModelToCompare(TypedDict):
    """A layer of a model that reads the stimuli."""

    #: Its name in the answer.
    name: str
    #: The model.
    model: ModelName
    #: Its layer, as ``/embed`` names them; the last one when missing.
    layer: NotRequired[str | None]
    #: Its version; the one that is served when missing.
    version: NotRequired[int | None]
    #: Its own distance, in place of that of the request.
    distance: NotRequired[Distance | None]


class EncoderToCompare(TypedDict):
    """A pretrained encoder that reads the stimuli."""

    #: Its name in the answer.
    name: str
    #: The encoder.
    encoder: EncoderName
    #: The column of the stimuli that it reads.
    column: str
    #: Its own distance, in place of that of the request.
    distance: NotRequired[Distance | None]


class ResponsesToCompare(TypedDict):
    """A dataset of responses, a row for each observation."""

    #: Its name in the answer.
    name: str
    #: The dataset.
    dataset: DatasetName
    #: Its columns that are channels: a name, or a pattern with ``*``; all columns of numbers when missing.
    channels: NotRequired[str | None]
    #: Its column with the name of the stimulus; the row number, from 0, when missing.
    condition: NotRequired[str | None]
    #: Its column with the subject, where there are several.
    subject: NotRequired[str | None]
    #: Its column with the run, for cross-validated distances.
    run: NotRequired[str | None]
    #: Its own distance, in place of that of the request.
    distance: NotRequired[Distance | None]


class MatrixToCompare(TypedDict):
    """A dataset of dissimilarities with the columns ``i``, ``j``, ``value`` and, where there are several subjects,
    ``subject``.
    """

    #: Its name in the answer.
    name: str
    #: The dataset.
    rdm: DatasetName
    #: Its column with the subject; ``subject`` when missing.
    subject: NotRequired[str | None]


#: A representation of the stimuli: a layer of a model, an encoder, responses in a dataset, or dissimilarities.
SystemToCompare = ModelToCompare | EncoderToCompare | ResponsesToCompare | MatrixToCompare


#: How two dissimilarity matrices are compared.
SimilarityMeasure = Literal["rho-a", "spearman", "kendall", "cosine", "whitened_cosine", "cka", "procrustes"]


class CompareRequest(TypedDict):
    """Systems to compare."""

    #: A dataset with a row for each stimulus, which systems of models and encoders read.
    stimuli: NotRequired[DatasetName | None]
    #: The column of ``stimuli`` with the stimuli's names; without it they are named by row number, from 0.
    condition: NotRequired[str | None]
    #: What is compared.
    systems: list[SystemToCompare]
    #: How the dissimilarity of two stimuli is measured; ``correlation`` when missing, with ``cka`` and ``procrustes``
    #: ``euclidean``.
    distance: NotRequired[Distance | None]
    #: How two dissimilarity matrices are compared.
    compare: NotRequired[SimilarityMeasure]
    #: Name of the system that the others are to explain, for example recordings; without it all are compared with each
    #: other.
    reference: NotRequired[str | None]
    #: Samples drawn for standard errors, intervals and tests.
    bootstrap: NotRequired[BootstrapRequest]
    #: Names of systems whose best non-negative mixture is fitted to the reference, by cross-validation.
    weighting: NotRequired[list[str] | None]
    #: Whether the responses of the reference, a dataset, are predicted from each system by ridge regression.
    encoding: NotRequired[bool]


class ComparedSystem(TypedDict):
    """A system as it was read."""

    #: Its name.
    name: str
    #: Version of its model.
    version: int | None
    #: Layer of its model.
    layer: str | None
    #: Channels or units; none for dissimilarities.
    channels: int | None
    #: The distance that was used; none for dissimilarities.
    distance: Distance | None
    #: Stimuli that it has.
    conditions: int
    #: Its subjects; empty where there is one without a name.
    subjects: list[str]
    #: How its data were handled, where there was a choice.
    notes: list[str]


class Similarity(TypedDict):
    """How similar two systems are."""

    #: One system.
    a: str
    #: The other one; the reference where there is one.
    b: str
    #: Their similarity; of a reference with subjects the mean over them.
    value: float
    #: Similarity to each subject of the reference.
    per_subject: list[float]
    #: Standard error.
    standard_error: float | None
    #: 95 % confidence interval.
    interval: list[float] | None
    #: One-sided p of a similarity above 0, a single test.
    p_zero: float | None
    #: The same, adjusted for the number of systems (Benjamini and Hochberg).
    q_zero: float | None
    #: Two-sided p of a difference from the lower end of the noise ceiling, a single test.
    p_ceiling: float | None
    #: The same, adjusted for the number of systems.
    q_ceiling: float | None


class SimilarityCeiling(TypedDict):
    """Between which similarities the best possible system lies."""

    #: Each subject against the average of the others.
    lower: float
    #: Each subject against the average of all.
    upper: float


class PairOfSystems(TypedDict):
    """Which of two systems fits the reference better."""

    #: One system.
    a: str
    #: The other.
    b: str
    #: Similarity of ``a`` minus that of ``b``.
    difference: float
    #: Its standard error.
    standard_error: float
    #: Two-sided p, a single test.
    p: float
    #: The same, adjusted for the number of pairs.
    q: float


class MixtureOfSystems(TypedDict):
    """The best non-negative mixture of some systems' matrices."""

    #: The systems.
    systems: list[str]
    #: Their weights, fitted to everything; their squares sum to 1.
    weights: list[float]
    #: Mean similarity of mixtures to subjects and stimuli that they were not fitted to.
    value: float
    #: The same for each subject.
    per_subject: list[float]
    #: Standard error over subjects.
    standard_error: float | None
    #: Folds of the stimuli.
    folds: int


class EncodingFit(TypedDict):
    """How much of recorded responses a system predicts: ridge regression, evaluated on stimuli that it was not fitted to.
    """

    #: The system.
    system: str
    #: Share of the variance of responses that it predicts, mean over channels and subjects; below 0 where the mean
    #: response predicts better.
    explained: float
    #: Share that could be predicted, from repetitions; none without.
    explainable: float | None
    #: ``explained`` for each subject.
    per_subject: list[float]
    #: Standard error over subjects; none with one.
    standard_error: float | None
    #: Channels of all subjects that vary between stimuli.
    channels: int


class DroppedCondition(TypedDict):
    """A stimulus that was left out."""

    #: Its name.
    condition: str
    #: Why.
    reason: str


class Findings(TypedDict):
    """What a comparison found, without its matrices."""

    #: The systems, in the order of the request.
    systems: list[ComparedSystem]
    #: How similar each system is to the reference, then every other two systems to each other.
    similarity: list[Similarity]
    #: Between which similarities the best possible system lies; none where the reference has one subject.
    noise_ceiling: SimilarityCeiling | None
    #: Which of two systems fits the reference better.
    pairwise: list[PairOfSystems]
    #: The best mixture of systems.
    weighting: MixtureOfSystems | None
    #: How much of the reference's responses each system predicts, where it was requested.
    encoding: list[EncodingFit]
    #: Stimuli that all systems have, in the order of the matrices.
    conditions: list[str]
    #: Stimuli that were left out.
    dropped: list[DroppedCondition]
    #: What the bootstrap drew; none where nothing was drawn.
    bootstrap: BootstrapDone | None
    #: Matrices that are not in ``rdms``, because all would be too many numbers.
    rdms_left_out: int


class Comparison(Findings):
    """A comparison; what it found is empty until its job has succeeded."""

    #: Its id, also that of its job.
    id: JobId
    #: The state of its job.
    status: JobStatus
    #: What ended the job, where it failed.
    error: dict[str, Any] | None
    #: The request.
    request: CompareRequest
    #: When it was submitted.
    created_at: str
    #: When it ended.
    finished_at: str | None


class ListedComparison(TypedDict):
    """A comparison in a list."""

    #: Its id, also that of its job.
    id: JobId
    #: The state of its job.
    status: JobStatus
    #: Names of the systems.
    systems: list[str]
    #: How dissimilarities are measured, where the request sets it.
    distance: Distance | None
    #: How matrices are compared.
    compare: SimilarityMeasure
    #: The system that the others are to explain.
    reference: str | None
    #: When it was submitted.
    created_at: str
    #: When it ended.
    finished_at: str | None


class ComparisonPage(TypedDict):
    """A page of comparisons."""

    #: The comparisons, newest first.
    items: list[ListedComparison]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]


class ListedRdm(TypedDict):
    """A dissimilarity matrix."""

    #: Its system.
    system: str
    #: The subject; none for a system's only matrix, and for the mean over its subjects.
    subject: str | None
    #: Dissimilarities of the pairs of ``conditions``: (0,1), (0,2), …, (1,2), ….
    values: list[float]


class ComparisonWithRdms(Comparison):
    """The same with its matrices, which are sent one by one."""

    #: The matrices: of each system, the mean over its subjects, then of each subject.
    rdms: list[ListedRdm]
