# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.jobs`` uses."""

from typing import Any, NotRequired, TypedDict

from .common import Job


#: A point of a job's curves: what was measured at a step.
CurvePoint = dict[str, Any]


class JobCurves(TypedDict):
    """The curves of a job."""

    #: Points in the order of their steps.
    points: list[CurvePoint]


class JobPage(TypedDict):
    """A page of jobs."""

    #: The jobs, newest first; ``result`` has only numbers and words, ``warnings`` have no examples.
    items: list[Job]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]
