"""What the measurements print: a line as each ends, and tables whose rows may have a limit."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME_WIDTH = 48


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def timed(name: str, action: Callable[[], str]) -> tuple[float, str]:
    """Do it; print and return the seconds it took, and what it returned."""
    begin = time.monotonic()
    output = action()
    seconds = time.monotonic() - begin
    say(f"  {name}: {seconds:.1f} s")
    return seconds, output


def show(name: str, values: Sequence[float], unit: str = "s", digits: int = 1) -> float:
    """Print a row of the table; return the median."""
    middle = statistics.median(values)
    single = ", ".join(f"{value:.{digits}f}" for value in values)
    say(f"  {name:<{NAME_WIDTH}}{middle:8.{digits}f} {unit}   of {single}")
    return middle


def at_most(name: str, value: float, limit: float) -> bool:
    """Print a row with an upper limit; return whether it is kept."""
    return _judge(name, value, f"at most {limit:g}", kept=value <= limit)


def at_least(name: str, value: float, limit: float) -> bool:
    """Print a row with a lower limit; return whether it is kept."""
    return _judge(name, value, f"at least {limit:g}", kept=value >= limit)


def _judge(name: str, value: float, limit: str, *, kept: bool) -> bool:
    # As many digits as it takes to see why a value just beyond the limit is beyond it.
    say(f"  {name:<{NAME_WIDTH}}{value:8.4g}     {limit}: {'PASS' if kept else 'OVER'}")
    return kept
