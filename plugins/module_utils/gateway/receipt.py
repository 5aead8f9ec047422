"""The receipt at the end of a run: where the gateway is, who answered, how fast, and a command to try."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .checks import NOT_CHOSEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def receipt(answers: Sequence[Mapping[str, Any]], host: str, address: str, port: int, authorization_file: str) -> str:
    """Return the receipt as text.

    Args:
        answers: one entry a model, as the module ``gateway_check`` returns them; times in seconds.
        host: address at which the box itself reaches the gateway.
        address: address at which the gateway is published; 0.0.0.0 for every address of the box.
        port: TCP port of the gateway.
        authorization_file: file on the box with the header that carries the key.
    """
    everywhere = " (and every other address of the box)" if address != host else ""
    lines = [f"The gateway answers at http://{host}:{port}/v1{everywhere}", ""]
    lines += _table([("model", "mode", "answered by", "seconds", ""), *(_row(answer) for answer in answers)])
    lines += ["", "Try it on the box; the key stays in its file:", _command(answers, host, port, authorization_file)]
    return "\n".join(lines)


def _row(answer: Mapping[str, Any]) -> tuple[str, ...]:
    if not answer["asked"]:
        note = (
            NOT_CHOSEN
            if answer.get("note") == NOT_CHOSEN
            else "not asked: it costs money (llm_verify_paid: true asks it)"
        )
        return (answer["name"], answer["mode"], note, "", "")
    detail = ""
    if answer.get("first_token_seconds") is not None:
        detail = f"first token of a stream after {answer['first_token_seconds']:.2f} s"
    elif answer.get("dimensions"):
        detail = f"{answer['dimensions']} dimensions"
    return (answer["name"], answer["mode"], answer["answered_by"], f"{answer['seconds']:.2f}", detail)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    # A long remark in place of an answer must not push the other columns out.
    widths = [max(len(row[column]) for row in rows if column != 2 or row[3]) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _command(answers: Sequence[Mapping[str, Any]], host: str, port: int, authorization_file: str) -> str:
    chat = [answer for answer in answers if answer["mode"] == "chat"]
    asked = [answer for answer in chat if answer["asked"]] or chat
    if asked:
        route, body = (
            "chat/completions",
            {"model": asked[0]["name"], "messages": [{"role": "user", "content": "Say hello."}]},
        )
    else:
        route, body = "embeddings", {"model": answers[0]["name"], "input": "hello"}
    return (
        f"  sudo curl -sS http://{host}:{port}/v1/{route} -H @{authorization_file}"
        f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    )
