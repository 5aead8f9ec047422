"""The receipt at the end of a run: where the gateway is, who answered, how fast, and a command to try."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from .checks import NOT_CHOSEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def receipt(
    answers: Sequence[Mapping[str, Any]],
    host: str,
    address: str,
    port: int,
    authorization_file: str,
    *,
    scheme: str = "http",
    hosts: Sequence[str] = (),
    ca_file: str = "",
    fetched_ca: str = "",
) -> str:
    """Return the receipt as text.

    Args:
        answers: one entry a model, as the module ``gateway_check`` returns them; times in seconds.
        host: name or address in the gateway's URL.
        address: IP address at which the box itself reaches the gateway.
        port: TCP port of the gateway.
        authorization_file: file on the box with the header that carries the key.
        scheme: http or https.
        hosts: every name and address by which clients may ask.
        ca_file: file on the box with the certificate of the authority that clients must be told of, or empty.
        fetched_ca: the same on the control machine, or empty.
    """
    others = [other for other in hosts if other != host and not _is_local(other)]
    also = f" (also as {', '.join(others)})" if others else ""
    base = f"{scheme}://{host}:{port}/v1"
    lines = [f"The gateway answers at {base}{also}", ""]
    lines += _table([("model", "mode", "answered by", "seconds", ""), *(_row(answer) for answer in answers)])
    question = _question(answers, base)
    if not _is_local(host):
        trust = f" --cacert {shlex.quote(fetched_ca)}" if fetched_ca else ""
        lines += [
            "",
            "Try it from here, with the key of a client (make client NAME=app) in LLM_KEY:",
            # By way of printf, which is part of the shell: every user of the machine may read the arguments of curl.
            f"  printf 'Authorization: Bearer %s' \"$LLM_KEY\" | curl -sS{trust} -H @- {question}",
        ]
    trust = f" --cacert {ca_file}" if ca_file else ""
    way = f" --connect-to ::{address}:{port}" if address != host else ""
    lines += [
        "",
        "Try it on the box; the key stays in its file:",
        f"  sudo curl -sS{trust}{way} -H @{authorization_file} {question}",
    ]
    return "\n".join(lines)


def _is_local(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


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


def _question(answers: Sequence[Mapping[str, Any]], base: str) -> str:
    """Return the last words of a command that asks a model, one that has answered where there is one."""
    chat = [answer for answer in answers if answer["mode"] == "chat"]
    asked = [answer for answer in chat if answer["asked"]] or chat
    if asked:
        route, body = (
            "chat/completions",
            {"model": asked[0]["name"], "messages": [{"role": "user", "content": "Say hello."}]},
        )
    else:
        route, body = "embeddings", {"model": answers[0]["name"], "input": "hello"}
    return f"{base}/{route} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
