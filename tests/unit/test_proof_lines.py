"""The end of the printed receipt: what was tested in depth, what was seen from outside, and what could not be told."""

from __future__ import annotations

from typing import Any

from plugins.filter.gateway import gateway_receipt
from plugins.module_utils.gateway.proof_lines import proof_lines

LOCAL: dict[str, Any] = {
    "name": "local",
    "mode": "chat",
    "asked": True,
    "answered_by": "qwen3.5:2b on box",
    "seconds": 1.2,
    "proofs": {
        "stream": {"pieces": 40, "seconds": 0.8},
        "tools": {"called": "note_number"},
        "context": {"declared": 8192, "sent": 8128, "counted": 8130, "seconds": 3.21},
    },
}
EMBED: dict[str, Any] = {**LOCAL, "name": "embed", "mode": "embedding", "proofs": {"vectors": {"dimensions": 384}}}
NOTE = "not reachable from the controller: no way leads to fd00::5"


def result(**changes: Any) -> dict[str, Any]:
    return {"models": [], "outside": [], "notes": [], "receipt": "", **changes}


def test_each_test_in_depth_is_shown_with_its_figures() -> None:
    assert proof_lines(result(models=[LOCAL, EMBED, {"name": "quick"}])) == [
        "",
        "Tested in depth:",
        "  local: a stream in 40 pieces over 0.80 s, calls a tool, 8130 tokens of its context of 8192 in 3.2 s",
        "  embed: the same vector of 384 numbers for the same text",
    ]


def test_what_was_seen_and_what_was_not_is_said() -> None:
    views = [
        {"place": "the controller", "addresses": ["192.168.1.10"], "answering": ["192.168.1.10:4000"]},
        {"place": "laptop", "addresses": ["192.168.1.10"], "answering": []},
        {"place": "nowhere", "addresses": [], "answering": []},
    ]
    assert proof_lines(result(outside=views, notes=[NOTE], receipt="/var/x.json")) == [
        "",
        "Seen from outside:",
        "  the controller: 192.168.1.10:4000 answers",
        "  laptop: nothing answers",
        "",
        "Not told:",
        f"  {NOTE}",
        "",
        "Kept on the box: /var/x.json",
    ]


def test_with_nothing_to_add_there_is_nothing() -> None:
    assert proof_lines(result()) == []


def test_they_stand_below_the_receipt() -> None:
    text = gateway_receipt(
        result(models=[LOCAL], receipt="/var/x.json"), "gw.lan", "127.0.0.1", 4000, "/f", scheme="https"
    )
    assert text.startswith("The gateway answers at https://gw.lan:4000/v1")
    assert text.endswith("Kept on the box: /var/x.json")
