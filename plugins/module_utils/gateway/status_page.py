"""The state of a gateway as a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NONE = "-"
_RIGHT = frozenset({"spent", "budget", "left", "falls back from", "restarts"})


def status_page(found: Mapping[str, Any]) -> str:
    """Return a result of the module ``gateway_status`` as text.

    Amounts are US dollars; times are UTC.
    """
    lines = [f"Spend of {found['month']} (UTC) in USD; budgets start anew on {_minute(found['opens_again'])}"]
    if not found["redis"]["reachable"]:
        lines += ["", f"Spend and breakers are unknown: {found['redis']['problem']}"]
    lines += ["", *_providers(found)]
    lines += ["", *_clients(found)]
    lines += ["", *_breakers(found["breakers"])]
    lines += ["", *_containers(found["containers"])]
    return "\n".join(lines)


def _providers(found: Mapping[str, Any]) -> list[str]:
    if not found["providers"]:
        return ["No hosted provider is in use; Ollama costs nothing."]
    head = ("provider", "spent", "budget", "left", "falls back from", "state")
    rows = [
        (
            item["name"],
            _spent(item, status.UNKNOWN),
            _usd(item["monthly_budget_usd"]),
            _left(item),
            _limit(item),
            _state(item, f"over: the next model answers until {_day(found['opens_again'])}"),
        )
        for item in found["providers"]
    ]
    return _table([head, *rows])


def _clients(found: Mapping[str, Any]) -> list[str]:
    if not found["clients"]:
        return ["No client has a key of its own; make client NAME=app adds one."]
    head = ("client", "spent", "budget", "left", "state")
    rows = [
        (
            item["name"],
            _spent(item, status.UNKNOWN),
            _usd(item["monthly_budget_usd"]),
            _left(item),
            _state(item, f"used up: refused until {_day(found['opens_again'])}"),
        )
        for item in found["clients"]
    ]
    return _table([head, *rows])


def _breakers(breakers: Sequence[Mapping[str, Any]] | None) -> list[str]:
    if breakers is None:
        return ["Breakers: unknown."]
    if not breakers:
        return ["All breakers are closed: every backend is asked."]
    head = ("open breaker", "since", "until", "why")
    return _table([head, *(_breaker(item) for item in breakers)])


def _breaker(item: Mapping[str, Any]) -> tuple[str, ...]:
    if item["until"] is None:
        return (item["deployment"], status.UNKNOWN, status.UNKNOWN, "LiteLLM's entry cannot be read")
    why = f"status {item['status_code']}" if item["status_code"] else status.UNKNOWN
    return (
        item["deployment"],
        _clock(item["since"]),
        f"{_clock(item['until'])}, in {item['seconds_left']:.0f} s",
        why,
    )


def _containers(containers: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ("container", "state", "health", "started", "restarts")
    rows = [
        (
            item["name"],
            item["state"],
            item["health"] or _NONE,
            _minute(item["since"]) if item["since"] else _NONE,
            _NONE if item["restarts"] is None else str(item["restarts"]),
        )
        for item in containers
    ]
    return _table([head, *rows])


def _spent(item: Mapping[str, Any], otherwise: str) -> str:
    return otherwise if item["spent_usd"] is None else _usd(item["spent_usd"])


def _left(item: Mapping[str, Any]) -> str:
    if item["spent_usd"] is None and item["monthly_budget_usd"] is not None:
        return status.UNKNOWN
    return _usd(item["left_usd"])


def _limit(item: Mapping[str, Any]) -> str:
    return _NONE if item["limit_usd"] is None else f"{_usd(item['limit_usd'])} ({item['fallback_at_percent']:g} %)"


def _state(item: Mapping[str, Any], when_used_up: str) -> str:
    return when_used_up if item["state"] == status.USED_UP else str(item["state"])


def _usd(amount: float | None) -> str:
    if amount is None:
        return _NONE
    # A single question costs less than a cent and must not look like nothing.
    return f"{amount:.4f}" if 0 < amount < 1 else f"{amount:.2f}"


def _day(moment: str) -> str:
    return moment[:10]


def _clock(moment: str) -> str:
    return moment[11:19]


def _minute(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [name in _RIGHT for name in rows[0]]
    return [
        "  " + "  ".join(_cell(row[column], width, right[column]) for column, width in enumerate(widths)).rstrip()
        for row in rows
    ]


def _cell(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
