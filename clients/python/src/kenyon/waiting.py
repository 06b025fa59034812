"""Waiting for jobs: by their events, so that the end is noticed at once and no request is made in between."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from typing import Any, cast

from . import types
from .api import Api
from .errors import ConnectionFailedError
from .events import JobEvent
from .progress import Bar, ProgressOption, wants_bar

#: States in which a job stays.
ENDED = ("succeeded", "failed", "canceled")
#: Seconds that a stream of events may be silent; the server sends a keep-alive every 10.
SILENCE = 30.0
#: Seconds for which a server that has gone may come back: it goes on with its jobs.
AWAY = 60.0


def wait_for(api: Api, state: types.Job, *, progress: ProgressOption = None, timeout: float | None = None) -> types.Job:
    """The last state of a job; ``TimeoutError`` when it is not there in time."""
    end = None if timeout is None else time.monotonic() + timeout
    bar = Bar(f"{state['kind']} {state['model']}", sys.stderr) if wants_bar(progress) else None
    called = progress if callable(progress) else None

    def show(state: types.Job) -> None:
        if bar is not None:
            bar.show(state["status"], state["progress"])
        if called is not None:
            called(state)

    last: str | None = None
    gone_since: float | None = None
    try:
        while state["status"] not in ENDED:
            try:
                last = _follow(api, state, last, end, show)
                state = api.get_job(state["id"])
                gone_since = None
            except ConnectionFailedError:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > AWAY:
                    raise
                time.sleep(0.2)
            if end is not None and time.monotonic() >= end and state["status"] not in ENDED:
                raise TimeoutError(f"job {state['id']} is still {state['status']}")
        show(state)
    finally:
        if bar is not None:
            bar.close()
    return state


def _follow(
    api: Api, state: types.Job, last: str | None, end: float | None, show: Callable[[types.Job], None]
) -> str | None:
    """Takes the job's events into ``state`` until it ends or the time is up; the id of the last one."""
    silence = SILENCE if end is None else min(SILENCE, max(end - time.monotonic(), 0.01))
    events = cast(Generator[JobEvent, None, None], api.job_events(state["id"], last_event_id=last, timeout=silence))
    try:
        for event in events:
            last = event["id"] or last
            _take(state, event["event"], event["data"])
            show(state)
            if end is not None and time.monotonic() >= end:
                break
    except ConnectionFailedError:
        # What was missed is requested by the last event's id.
        pass
    finally:
        events.close()
    return last


def _take(state: types.Job, event: str, data: dict[str, Any]) -> None:
    if event == "status":
        state["status"] = data.get("status", state["status"])
    elif event == "progress":
        known = types.JobProgress.__annotations__
        fields = {name: value for name, value in data.items() if name in known}
        state["progress"] = cast(types.JobProgress, {**(state["progress"] or {}), **fields})
    elif event == "metric":
        state["metrics"] = {**(state["metrics"] or {}), **data}
