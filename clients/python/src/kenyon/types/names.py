"""Words that the interface uses, as literal types."""

from typing import Any, Literal

ColumnKind = Literal["number", "category", "boolean", "timestamp", "duration", "text", "vector", "sequence", "image"]
Task = Literal["classification", "regression"]
Family = Literal["sparse_mlp", "attention", "memory", "hybrid"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]
JobKind = Literal["train", "consolidate", "evaluate", "predict", "compare", "distill"]
VersionState = Literal["served", "ready", "shadow", "canary", "retired"]
EvaluatedKind = Literal["out_of_fold", "held_out"]
Guarantee = Literal["split_conformal", "cross_conformal", "none"]
Scope = Literal["predict", "observe", "train", "datasets", "admin", "read"]

#: Column name to value.
Row = dict[str, Any]
#: What ``explain`` may be in a predict call.
Explain = bool | Literal["leave_one_out"]
