# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that several groups of calls use."""

from typing import Any, Literal, NotRequired, TypedDict


#: How a column is read: a handle into the list of kinds.
ColumnKind = Literal["number", "category", "boolean", "timestamp", "text", "vector", "sequence", "image", "duration"]


DatasetName = str


class Detail(TypedDict):
    """One error and its place."""

    #: JSON path of the offending value, where there is one.
    path: NotRequired[str | None]
    #: Row number, counted from 0 in a request's ``rows`` and from 1 (the first data row) in a file.
    row: NotRequired[int | None]
    #: Column name.
    column: NotRequired[str | None]
    #: The reason, one sentence.
    reason: str


EncoderName = str


#: What kind of error it is: a stable word, to be compared by programs.
ErrorCode = Literal[
    "activity_size", "activity_value", "address_unavailable", "bad_bundle", "bad_cell", "bad_class_weights",
    "bad_config", "bad_configuration", "bad_encoder", "bad_feature", "bad_inputs", "bad_model", "bad_neighbors",
    "bad_rows", "bad_setting", "bad_target", "bad_task", "bad_validation", "bad_weight", "bad_weights",
    "body_incomplete", "body_too_large", "broken_body", "broken_encoding", "broken_quote", "canceled", "client_gone",
    "client_too_slow", "comparison_not_found", "comparison_running", "condition_missing", "conditions_do_not_match",
    "conflict", "constant_layer", "constant_rdm", "contradictory_request", "cross_site", "damaged_compression",
    "damaged_file", "data_dir_in_use", "database_incompatible", "database_unavailable", "dataset_changed",
    "dataset_in_use", "dataset_not_found", "deadline", "disk_full", "diverged", "draining", "duplicate_condition",
    "duplicate_field", "duplicate_input", "duplicate_output", "empty_file", "empty_filter", "encoder_exists",
    "encoder_in_use", "encoder_missing", "encoder_not_found", "entry_not_found", "evaluation_failed",
    "family_learns_by_training", "file_not_found", "host_not_allowed", "idempotency_in_flight", "idempotency_mismatch",
    "internal", "invalid_babi", "invalid_conditional", "invalid_coverage", "invalid_cursor", "invalid_encoding",
    "invalid_feature", "invalid_header", "invalid_idempotency_key", "invalid_json", "invalid_key", "invalid_name",
    "invalid_novelty_level", "invalid_parquet", "invalid_request", "invalid_search", "invalid_shape",
    "invalid_snapshot", "invalid_tensor", "invalid_top_k", "invalid_training", "invalid_wait", "invalid_weight", "io",
    "job_not_found", "job_not_retryable", "job_panicked", "key_not_found", "key_required", "killed", "learning_limited",
    "lease_lost", "malformed_json", "mcp_off", "method_not_allowed", "missing_column", "missing_field", "missing_input",
    "model_exists", "model_not_allowed", "model_not_found", "model_removed", "nested", "no_channels",
    "no_earlier_version", "no_family", "no_features", "no_importance", "no_memory", "no_noise", "no_onnx_form",
    "no_progress", "no_repetitions", "no_rows", "no_version", "not_an_object", "not_enough_memory", "not_finite",
    "not_reproducible", "not_text", "not_utf8", "nothing_learned", "nothing_to_compare", "nothing_to_consolidate",
    "object_not_found", "objects_unavailable", "objects_unsupported", "one_channel", "one_condition", "one_run",
    "one_subject", "other_target", "out_of_memory", "output_not_found", "output_not_ready", "prediction_not_found",
    "process_unavailable", "queue_full", "quota_reached", "ragged_rows", "rate_limited", "rdm_diagonal",
    "rdm_duplicate", "rdm_incomplete", "rdm_size", "rdm_value", "record_too_large", "responses_missing",
    "responses_size", "route_not_found", "row_too_large", "schema_change", "scope_missing", "singular",
    "singular_noise", "snapshot_not_found", "snapshot_too_new", "stimuli_do_not_match", "stopped", "storage_failed",
    "storage_read_only", "store_not_empty", "stream_busy", "stream_compacted", "stream_interrupted", "stream_replaced",
    "target_constant", "target_is_feature", "target_missing", "target_not_classes", "target_not_finite",
    "target_not_numeric", "target_out_of_range", "task_needed", "too_few_conditions", "too_few_groups", "too_few_rows",
    "too_few_samples", "too_large", "too_many_channels", "too_many_classes", "too_many_columns", "too_many_conditions",
    "too_many_datasets", "too_many_features", "too_many_models", "too_many_requests", "too_many_rows", "unclosed_quote",
    "unexpected_input", "unknown_column", "unknown_datatype", "unknown_encoding", "unknown_field", "unknown_kind",
    "unknown_layer", "unknown_output", "unknown_shape", "unknown_status", "unknown_target", "unsupported_encoding",
    "unsupported_media_type", "version_changed", "version_not_found", "webhook_failed", "webhook_refused",
    "weights_unsupported",
]


#: A family's name.
Family = Literal["sparse_mlp", "attention", "memory", "hybrid"]


JobId = str


#: What a job does.
JobKind = Literal["train", "consolidate", "evaluate", "predict", "compare", "distill"]


ModelName = str


#: The state of a job.
JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]


class JobProgress(TypedDict):
    """The progress of a job; empty before its first report."""

    #: Passes that have ended, of a search the trials.
    epoch: NotRequired[int | None]
    #: Passes planned.
    epochs: NotRequired[int | None]
    #: Mini-batches, of a batch of predictions the rows.
    step: NotRequired[int | None]
    #: Steps planned.
    steps: NotRequired[int | None]
    #: Share of the work that is done.
    fraction: NotRequired[float | None]
    #: Rows a second.
    rows_per_second: NotRequired[float | None]
    #: Estimated seconds left.
    eta_seconds: NotRequired[float | None]
    #: The device that a training or a batch of predictions runs on: ``cpu``, ``cuda:N`` or ``metal``.
    device: NotRequired[str | None]


#: The kinds of ``Warning``.
WarningCode = Literal[
    "mixed_kind", "identifier", "constant", "unreadable_column", "unnamed_column", "header_like_data", "one_column",
    "missing_words", "leaks_target", "ambiguous_dates", "duplicate_rows", "few_rows_in_class", "extreme_values",
    "imbalanced", "ambiguous_task", "class_never_predicted", "uncalibrated", "device_fallback",
]


class WarningExample(TypedDict):
    """A cell that a warning is about."""

    #: Row number, counted from 1 (the first data row) in a file.
    row: int
    #: The cell as written.
    value: Any


class Warning(TypedDict):
    """Something the user should know about their data or their model."""

    #: The kind of warning.
    code: WarningCode
    #: The column concerned, where there is one.
    column: str | None
    #: One sentence for a person.
    detail: str
    #: Rows concerned.
    rows: int
    #: The first of them, at most ``MAX_EXAMPLES``.
    examples: list[WarningExample]


class JobError(TypedDict):
    """What ended a job."""

    #: Stable code, to be compared by programs.
    code: ErrorCode
    #: What is wrong, for a person.
    detail: str
    #: Where.
    details: NotRequired[list[Detail]]


class Job(TypedDict):
    """A job in the form the interface returns."""

    #: Its id.
    id: JobId
    #: What it does.
    kind: JobKind
    #: For which model; none for a comparison.
    model: ModelName | None
    #: The version it makes, or evaluates; fixed when it was submitted.
    version: NotRequired[int | None]
    #: What it reads.
    dataset: NotRequired[DatasetName | None]
    #: Its state.
    status: JobStatus
    #: Higher runs first.
    priority: int
    #: ``epoch``, ``step``, ``fraction`` … as last written.
    progress: JobProgress
    #: Last values of what is measured.
    metrics: dict[str, float | None]
    #: What an evaluation measured; which version a training made.
    result: NotRequired[dict[str, Any] | None]
    #: Whether the version it made is served; none before it has made one.
    served: NotRequired[bool | None]
    #: Why it is served, or not.
    served_reason: NotRequired[str | None]
    #: Warnings of the training.
    warnings: list[Warning]
    #: How often it was started.
    attempt: int
    #: Step of the checkpoint this attempt continued from; 0 from the start.
    resumed_from_step: int
    #: Who runs it.
    worker: NotRequired[str | None]
    #: Whether a cancel request is pending.
    cancel_requested: bool
    #: ``code`` and ``detail`` of what ended it.
    error: NotRequired[JobError | None]
    #: When it was submitted.
    created_at: str
    #: When it was first started.
    started_at: NotRequired[str | None]
    #: When it ended.
    finished_at: NotRequired[str | None]


#: A label, with the type and spelling of the training data.
Label = str | float | bool


class Problem(TypedDict):
    """A problem document (RFC 9457)."""

    #: Names the code; not an address to fetch.
    type: str
    #: The status in words.
    title: str
    #: The status.
    status: int
    #: Stable code, to be compared by programs.
    code: ErrorCode
    #: What is wrong, for a person.
    detail: str
    #: Id of the request, as in the logs.
    request_id: str
    #: Where it is wrong; the first 20 places.
    details: NotRequired[list[Detail]]


#: A value by the name of each column.
Row = dict[str, Any]


class Spelling(TypedDict):
    """The spelling of a column's cells."""

    #: Words that mean "no value" in this column. Default: [].
    missing: NotRequired[list[str]]
    #: Numbers have a decimal comma: ``1.234,5``. Default: false.
    decimal_comma: NotRequired[bool]
    #: No number of a column with decimal commas has separators of thousands: ``9.876`` is a decimal point. Default:
    #: false.
    ungrouped: NotRequired[bool]
    #: ``03/04/2024`` is the third of April. Default: false.
    day_first: NotRequired[bool]
    #: Booleans that are the numbers 1 and 0. Default: false.
    booleans: NotRequired[bool]


class V2Error(TypedDict):
    """An error, in the form of the protocol."""

    #: What is wrong.
    error: str
