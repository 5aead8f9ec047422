"""How far a model is on its way: what the lines of a pull add up to, and the line that a user reads."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

# Speed is told over this long, so that it is neither that of one burst nor that of an hour ago.
_WINDOW_S = 10.0
_SAMPLE_S = 1.0
_MEGA = 10**6
_GIGA = 10**9


class Report(TypedDict):
    """How far one model is.

    ``lines`` came from Ollama so far, and ``status`` is its own word while no bytes move. ``total_bytes`` grows as
    Ollama comes to further files of the model; the first is nearly all of it. ``seconds_left`` is None where the speed
    is not known or nothing arrives.
    """

    doing: str
    model: str
    lines: int
    status: str
    completed_bytes: int
    total_bytes: int
    bytes_per_second: float
    seconds_left: float | None


class Progress:
    """Adds up the lines that Ollama sends about one model."""

    def __init__(self, doing: str, model: str) -> None:
        """``doing`` is what the user reads before the name, such as ``pulling``."""
        self._doing = doing
        self._model = model
        self._lines = 0
        self._status = ""
        self._files: dict[str, tuple[int, int]] = {}
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, line: Mapping[str, Any], now_s: float) -> None:
        """Take in one line of the stream at a time of a clock, in seconds.

        Lines of a file have ``digest``, ``total`` and, once it is not 0, ``completed`` (Ollama server/download.go).
        """
        self._lines += 1
        self._status = str(line.get("status") or "")
        digest, total = line.get("digest"), line.get("total")
        if not isinstance(digest, str) or type(total) is not int:
            return
        self._status = ""
        completed = line.get("completed")
        self._files[digest] = (completed if type(completed) is int else 0, total)
        if not self._samples or now_s - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now_s, self._completed))
        while now_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()

    def report(self, now_s: float) -> Report:
        """How far it is at a time of the same clock, in seconds."""
        completed, total = self._completed, sum(size for _, size in self._files.values())
        speed = 0.0
        if self._samples and now_s > self._samples[0][0]:
            since_s, at_first = self._samples[0]
            speed = max(completed - at_first, 0) / (now_s - since_s)
        return {
            "doing": self._doing,
            "model": self._model,
            "lines": self._lines,
            "status": self._status,
            "completed_bytes": completed,
            "total_bytes": total,
            "bytes_per_second": speed,
            "seconds_left": (total - completed) / speed if speed > 0 else None,
        }

    @property
    def status(self) -> str:
        """Ollama's own word while no bytes move, else nothing."""
        return self._status

    @property
    def _completed(self) -> int:
        return sum(completed for completed, _ in self._files.values())


class ProgressFile:
    """A file that tells how far the work is, for whoever waits for it; only its owner may read it."""

    def __init__(self, path: str) -> None:
        """``path`` is empty where nobody waits."""
        self._path = path
        self._written_s = float("-inf")
        self._written: tuple[Progress, str] | None = None

    def write(self, progress: Progress) -> None:
        """Write how far it is: at once what is new, and at most once a second how it goes on; raises OSError."""
        now_s = time.monotonic()
        new = (progress, progress.status)
        if not self._path or (new == self._written and now_s - self._written_s < _SAMPLE_S):
            return
        self._written_s, self._written = now_s, new
        fresh = f"{self._path}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(progress.report(now_s), file)
        os.replace(fresh, self._path)

    def remove(self) -> None:
        """Remove it, where it was written; raises OSError."""
        if self._path and os.path.exists(self._path):
            os.remove(self._path)


def as_line(report: Report, since_s: float) -> str:
    """The line a user reads about a model on which work goes on for ``since_s`` seconds."""
    start = f"{report['doing']} {report['model']}"
    total, completed = report["total_bytes"], report["completed_bytes"]
    if not total or report["status"]:
        status = f" ({report['status']})" if report["status"] else ""
        return f"{start}{status}, {_duration(since_s)} so far"
    size = f"{_size(completed)} of {_size(total)}, {completed * 100 // total} %"
    if report["seconds_left"] is None:
        return f"{start}: {size}, nothing arrives"
    return f"{start}: {size}, {report['bytes_per_second'] / _MEGA:.1f} MB/s, {_duration(report['seconds_left'])} left"


def _size(size: int) -> str:
    return f"{size / _GIGA:.1f} GB" if size >= _GIGA else f"{size / _MEGA:.0f} MB"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
