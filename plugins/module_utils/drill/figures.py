"""The figures of a drill, the limits they are held against and the verdict. Times are seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Limits:
    """What a drill may measure at most; ``llm_drill_limits`` in the group variables.

    Attributes:
        refused_extra_seconds: extra time of the first request past a backend that refuses or answers with an error.
        hang_first_seconds: time of the first request past a backend that hangs.
        open_extra_seconds: extra time once the breaker is open.
        redis_stopped_extra_seconds: extra time of a request while Redis is stopped; while it hangs, one that takes
            longer counts as slow.
        redis_hung_extra_seconds: extra time of a request while Redis hangs.
        redis_hung_slow_requests: number of requests that may take extra time while Redis hangs.
        load_failed: failed requests under steady load.
        first_token_p95_seconds: time to the first token that 95 of 100 streams keep.
    """

    refused_extra_seconds: float
    hang_first_seconds: float
    open_extra_seconds: float
    redis_stopped_extra_seconds: float
    redis_hung_extra_seconds: float
    redis_hung_slow_requests: float
    load_failed: float
    first_token_p95_seconds: float


def read_limits(declared: Any) -> Limits:
    """Return the limits as the user wrote them.

    Raises:
        ValueError: they are incomplete or no numbers; the message names every mistake.
    """
    names = [known.name for known in fields(Limits)]
    if not isinstance(declared, Mapping):
        raise ValueError(f"llm_drill_limits: write a mapping with {', '.join(names)}")
    wrong = [f"{name} is not a limit" for name in declared if name not in names]
    for name in names:
        value = declared.get(name)
        if name not in declared:
            wrong.append(f"{name} is missing")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            wrong.append(f"{name} is {value!r}, not a number from 0")
    if wrong:
        raise ValueError(f"llm_drill_limits: {'; '.join(wrong)}. Its names are {', '.join(names)}")
    return Limits(**{name: float(declared[name]) for name in names})


def median(values: Sequence[float]) -> float:
    """Return the middle of the values, the mean of the middle two for an even number.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("no values, so no median")
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that ``percent`` of the values do not exceed (nearest rank).

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("no values, so no percentile")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


@dataclass(frozen=True)
class Check:
    """One figure held against its limit. ``unit`` is ``s`` or what is counted."""

    limit_name: str
    what: str
    measured: float
    limit: float
    unit: str = "s"

    @property
    def kept(self) -> bool:
        """Whether the figure is within its limit."""
        return self.measured <= self.limit

    def __str__(self) -> str:
        """Return the figure and its limit, for people."""
        return f"{self.what}: {amount(self.measured, self.unit)}, at most {amount(self.limit, self.unit)}"


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, such as ``41 ms``, ``2.05 s`` or ``3 requests``."""
    if unit != "s":
        return f"{value:g} {unit}"
    return f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:.2f} s"


@dataclass
class Result:
    """What one case came to.

    Attributes:
        case: the name of the case.
        title: the case in words.
        seen: what clients saw, with how often.
        healthy_seconds: median time of an answer before the fault.
        first_seconds: times of the first requests after the fault.
        open_seconds: median time once the breaker was open.
        recovery_seconds: from the end of the fault until the first answer of who had failed.
        checks: the figures that have a limit.
        problems: what was not as it must be, limits apart.
        notes: more that was measured.
    """

    case: str
    title: str
    seen: dict[str, int] = field(default_factory=dict)
    healthy_seconds: float | None = None
    first_seconds: list[float] = field(default_factory=list)
    open_seconds: float | None = None
    recovery_seconds: float | None = None
    checks: list[Check] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems and all(check.kept for check in self.checks)

    def saw(self, what: str) -> None:
        """Count something that a client saw."""
        self.seen[what] = self.seen.get(what, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data, times to the millisecond."""
        plain = asdict(self)
        plain["passed"] = self.passed
        plain["failures"] = failures(self)
        plain["checks"] = [{**asdict(check), "kept": check.kept} for check in self.checks]
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def failures(result: Result) -> list[str]:
    """Return what was wrong, a sentence each; broken limits are named as in the group variables."""
    broken = [f"{result.title}: {check} ({check.limit_name})" for check in result.checks if not check.kept]
    return [*(f"{result.title}: {problem}" for problem in result.problems), *broken]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
