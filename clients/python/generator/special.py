"""What the document does not say, or says too narrowly: every special case of the generated client, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Operations without a method, by their ids.
SKIPPED = {
    "dashboard": "a page for people",
    "docs": "pages for people",
    "docs_file": "pages for people",
    "mcp": "a protocol that has clients of its own",
}

#: ``POST`` operations that may be sent again when a connection breaks: they only read, or do the same once more, which the
#: document has no word for. Operations with an ``Idempotency-Key`` may be sent again when the key is given.
REPEATABLE = {
    "cancel_job",
    "embed_inputs",
    "embed_rows",
    "evaluate",
    "find_neighbors",
    "predict",
    "v2_index",
    "v2_infer",
    "v2_infer_version",
}

#: Types of parameters that are texts in the document.
PARAMETERS = {
    # Lists separated by commas; the transport joins them.
    "missing": "str | Sequence[str]",
    "versions": "str | Sequence[int]",
    # The document lists the standard labels, the server reads their other spellings, too.
    "encoding": "str",
}

#: Headers that no method has an argument for, in lower case.
HEADERS_LEFT_OUT = {
    # Raw tensors after the JSON; clients of the Open Inference Protocol send them.
    "inference-header-content-length",
}


@dataclass(frozen=True)
class Form:
    """One of several methods of an operation."""

    name: str
    answer: str
    summary: str = ""
    #: Fields of the body with a fixed value, or ``None`` for fields that are not sent.
    fixed: dict[str, Any] = field(default_factory=dict)


#: Operations whose answer depends on a field of the request: a method for each answer, so that each has one type.
FORMS = {
    "train": [
        Form("train", "types.Job", fixed={"dry_run": None}),
        Form("plan_training", "types.DryRun", "What a training would do; nothing is queued.", {"dry_run": True}),
    ],
}
