"""Calls side by side, with one bound on the time they take together."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(NamedTuple):
    """What became of one call: its value, or its error (TimeoutError when it took too long)."""

    value: Any
    error: Exception | None


def run_all(calls: Mapping[str, Callable[[], Any]], timeout_s: float) -> dict[str, Outcome]:
    """Run every call in a thread of its own and return the outcomes by key after at most ``timeout_s`` seconds.

    A call that is not done by then goes on as a daemon thread, which does not hold up the end of the process.
    """
    done: queue.Queue[tuple[str, Outcome]] = queue.Queue()

    def run(key: str, call: Callable[[], Any]) -> None:
        try:
            done.put((key, Outcome(call(), None)))
        except Exception as error:  # noqa: BLE001  the caller gets it with the outcome and decides
            done.put((key, Outcome(None, error)))

    for key, call in calls.items():
        threading.Thread(target=run, args=(key, call), daemon=True).start()
    outcomes: dict[str, Outcome] = {}
    end = time.monotonic() + timeout_s
    while len(outcomes) < len(calls):
        try:
            key, outcome = done.get(timeout=max(end - time.monotonic(), 0.001))
        except queue.Empty:
            break
        outcomes[key] = outcome
    late = Outcome(None, TimeoutError(f"no answer within {timeout_s:g} s"))
    return {key: outcomes.get(key, late) for key in calls}
