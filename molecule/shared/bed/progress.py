"""Progress on the terminal: one line a step, and a line from time to time while a step takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


def running_line(started: dict[str, float], now: float) -> str:
    """Names the steps under way and for how many seconds each has run."""
    return "still at it: " + ", ".join(f"{name} ({now - begin:.0f} s)" for name, begin in started.items())


class Progress:
    """Prints lines with the seconds since the start; safe to use from several threads.

    While steps run and nothing else is printed, a line names them every `interval` seconds.
    """

    def __init__(
        self, out: TextIO = sys.stdout, interval: float = 8.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out
        self._interval = interval
        self._clock = clock
        self._begin = clock()
        self._last_line = self._begin
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._begin

    def say(self, text: str) -> None:
        """Prints one line."""
        with self._lock:
            self._print(text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Marks a step as under way while the body runs."""
        with self._lock:
            self._running[name] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                del self._running[name]

    def _print(self, text: str) -> None:
        self._last_line = self._clock()
        print(f"[{self._last_line - self._begin:4.0f} s] {text}", file=self._out, flush=True)

    def _watch(self) -> None:
        while not self._ended.wait(self._interval / 8):
            with self._lock:
                now = self._clock()
                if self._running and now - self._last_line >= self._interval:
                    self._print(running_line(self._running, now))
