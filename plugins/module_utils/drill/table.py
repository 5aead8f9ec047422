"""What a drill found, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .figures import amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEAD = ("what fails", "clients saw", "healthy", "1st", "2nd", "3rd", "open", "back after", "")


def drill_table(ran: Sequence[Mapping[str, Any]], path: str) -> str:
    """Return the table, what was measured beside it, and everything that was wrong.

    Args:
        ran: what Ansible registered for each case: ``item``, and ``result``, or ``msg`` where it could not be run.
        path: the file on the box that holds the same as JSON.
    """
    results = [one["result"] for one in ran if "result" in one]
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    notes = [f"- {result['title']}: {'; '.join(said)}" for result in results for said in [_said(result)] if said]
    if notes:
        lines += ["", "Measured:", *notes]
    wrong = drill_failures(ran)
    lines += ["", *(["Not as it must be:", *(f"- {line}" for line in wrong)] if wrong else ["Every limit is kept."])]
    return "\n".join([*lines, "", f"As JSON, on the box: {path}"])


def drill_failures(ran: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return everything that was wrong, a sentence each.

    Args:
        ran: what Ansible registered for each case: ``item``, and ``result``, or ``msg`` where it could not be run.
    """
    found: list[str] = []
    for one in ran:
        found += one["result"]["failures"] if "result" in one else [f"{one['item']['title']}: not run. {one['msg']}"]
    return found


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    first = [_time(seconds) for seconds in result["first_seconds"]]
    return (
        result["title"],
        ", ".join(f"{count} x {what}" for what, count in sorted(result["seen"].items())),
        _time(result["healthy_seconds"]),
        *(first + [""] * 3)[:3],
        _time(result["open_seconds"]),
        _time(result["recovery_seconds"]),
        "ok" if result["passed"] else "NOT OK",
    )


def _said(result: Mapping[str, Any]) -> list[str]:
    checks = [
        f"{check['what']} {amount(check['measured'], check['unit'])} (at most {amount(check['limit'], check['unit'])})"
        for check in result["checks"]
    ]
    return [*checks, *result["notes"]]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else amount(seconds, "s")
