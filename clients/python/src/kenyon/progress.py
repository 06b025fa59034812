"""A bar on a terminal or in a notebook for jobs that are waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, Union

from .types import Job, JobProgress

#: ``True`` and ``False``, ``None`` for a bar where there is a terminal or a notebook, or what is called with each change.
ProgressOption = Union[bool, Callable[[Job], None], None]

WIDTH = 28
#: Seconds between two drawings of the same status.
PAUSE = 0.1


class Bar:
    """One line that is written over."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._length = 0
        self._shown = ("", 0.0)

    def show(self, status: str, progress: JobProgress | None) -> None:
        """Draws the state of a job."""
        now = time.monotonic()
        if status == self._shown[0] and now - self._shown[1] < PAUSE:
            return
        self._shown = (status, now)
        progress = progress or {}
        share = progress.get("fraction") or 0.0
        done = round(WIDTH * min(share, 1.0))
        parts = [self._title, "█" * done + "░" * (WIDTH - done), f"{100 * share:3.0f}%"]
        if progress.get("epochs"):
            parts.append(f"epoch {progress.get('epoch')}/{progress.get('epochs')}")
        if status == "running" and progress.get("eta_seconds") is not None:
            parts.append(f"{progress['eta_seconds']:.0f} s left")
        elif status != "running":
            parts.append(status)
        line = "  ".join(parts)
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def close(self) -> None:
        """Ends the line."""
        if self._length:
            self._stream.write("\n")
            self._stream.flush()


def wants_bar(option: ProgressOption, stream: Any = None) -> bool:
    """Whether a bar is to be drawn."""
    if isinstance(option, bool):
        return option
    stream = stream or sys.stderr
    return option is None and ("ipykernel" in sys.modules or bool(getattr(stream, "isatty", lambda: False)()))
