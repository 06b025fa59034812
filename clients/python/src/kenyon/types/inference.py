# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.inference`` uses."""

from typing import Any, NotRequired, TypedDict

from .common import Label


class V2IndexEntry(TypedDict):
    """A version of a model."""

    #: The model.
    name: str
    #: The version, a whole number.
    version: str
    #: ``READY`` if it is served, else ``UNAVAILABLE``; it answers by its number in both states.
    state: str
    #: Empty.
    reason: str


class V2IndexRequest(TypedDict):
    """Which models."""

    #: Only versions that are served.
    ready: NotRequired[bool]


class V2RawSize(TypedDict):
    """Where the elements of a tensor are that are not in the JSON."""

    #: Its bytes after the JSON.
    binary_data_size: NotRequired[int | None]


class V2Output(TypedDict):
    """A tensor of an answer."""

    #: ``label``, ``probabilities``, ``value``, ``novelty``, ``verdict`` or ``embedding``.
    name: str
    #: As in requests.
    datatype: str
    #: Rows first.
    shape: list[int]
    parameters: NotRequired[V2RawSize]
    #: The elements, flat; missing where they follow the JSON.
    data: NotRequired[list[Label]]


class V2InferAnswer(TypedDict):
    """An inference answer."""

    #: The model.
    model_name: str
    #: The version that answered.
    model_version: str
    #: That of the request.
    id: NotRequired[str]
    #: The tensors.
    outputs: list[V2Output]


class V2InferParameters(TypedDict):
    """How outputs are sent that do not set it themselves."""

    #: Raw, after the JSON.
    binary_data_output: NotRequired[bool | None]


class V2Input(TypedDict):
    """A tensor of a request."""

    #: The column.
    name: str
    #: ``FP64``, ``INT64``, ``BYTES``, ``BOOL``, …
    datatype: str
    #: Rows first.
    shape: list[int]
    parameters: NotRequired[V2RawSize | None]
    #: The elements, flat or nested; null is a missing value. Without it they follow the JSON.
    data: NotRequired[list[Any]]


class V2OutputParameters(TypedDict):
    """How an output is sent."""

    #: Raw, after the JSON.
    binary_data: NotRequired[bool | None]
    #: This many classes, as ``probability:index:label``, in place of all probabilities.
    classification: NotRequired[int | None]
    #: Of ``embedding``: a layer of ``/activity``, or ``features``; the last layer when missing.
    layer: NotRequired[str | None]


class V2WantedOutput(TypedDict):
    """A tensor to answer."""

    #: Its name, one of those in the model's metadata.
    name: str
    parameters: NotRequired[V2OutputParameters | None]


class V2InferRequest(TypedDict):
    """An inference request. With ``Inference-Header-Content-Length`` raw tensors may follow the JSON."""

    #: Comes back in the answer.
    id: NotRequired[str | None]
    parameters: NotRequired[V2InferParameters | None]
    #: One tensor for each column, or one named ``input`` with all.
    inputs: list[V2Input]
    #: The tensors to answer; ``label`` and ``probabilities``, or ``value``, when missing.
    outputs: NotRequired[list[V2WantedOutput] | None]


class V2Tensor(TypedDict):
    """A tensor in a model's metadata; -1 means any size."""

    #: Its name.
    name: str
    #: ``FP64``, ``INT64``, ``BYTES``, ``BOOL``, …
    datatype: str
    #: Rows first.
    shape: list[int]


class V2ModelParameters(TypedDict):
    """What the protocol has no field for."""

    #: The classes, in the order of ``probabilities``.
    labels: list[Label]


class V2Model(TypedDict):
    """A model: its versions, inputs and outputs."""

    #: The model.
    name: str
    #: Its versions, or the one that was named.
    versions: list[str]
    #: ``kenyon_`` and the family.
    platform: str
    #: The tensors that it takes: one for each column.
    inputs: list[V2Tensor]
    #: The tensors that it answers: ``label`` and ``probabilities``, or ``value``, and where they are requested
    #: ``novelty``, ``verdict`` and ``embedding``.
    outputs: list[V2Tensor]
    #: What the protocol has no field for; only for classification.
    parameters: NotRequired[V2ModelParameters | None]


class V2ModelReady(TypedDict):
    """That a model, or the version of it that was named, can answer."""

    #: The model.
    name: str
    #: The version, where one was named.
    version: NotRequired[str | None]
    #: True.
    live: bool
    #: True: a model that cannot answer is an error.
    ready: bool


class V2Server(TypedDict):
    """The server and its extensions."""

    #: ``kenyon``.
    name: str
    #: The version of the program.
    version: str
    #: Names of the extensions of the protocol that it has.
    extensions: list[str]


class V2Time(TypedDict):
    """A number of requests, and how long they took together."""

    #: Requests.
    count: int
    #: Nanoseconds.
    ns: int


class V2Times(TypedDict):
    """The parts of the time that requests took."""

    success: V2Time
    fail: V2Time
    queue: V2Time
    compute_input: V2Time
    compute_infer: V2Time
    compute_output: V2Time


class V2VersionStatistics(TypedDict):
    """Counts and times of a version since the server started."""

    name: str
    version: str
    #: Milliseconds since 1970 of the last request; 0 before the first.
    last_inference: int
    #: Rows.
    inference_count: int
    #: Forward passes.
    execution_count: int
    inference_stats: V2Times
    #: Empty: batches are not counted by size.
    batch_stats: list[V2Time]


class V2Statistics(TypedDict):
    """Counts and times, by version."""

    #: The versions.
    model_stats: list[V2VersionStatistics]
