"""The receipt says where the gateway is and who answered, and its command can be pasted."""

from __future__ import annotations

import json
import shlex
from typing import Any

from plugins.module_utils.gateway.receipt import receipt

LOCAL: dict[str, Any] = {
    "name": "local",
    "mode": "chat",
    "asked": True,
    "answered_by": "qwen3.5:2b on box",
    "seconds": 1.234,
    "first_token_seconds": 0.31,
}
EMBED: dict[str, Any] = {
    "name": "embed",
    "mode": "embedding",
    "asked": True,
    "answered_by": "nomic on box",
    "seconds": 0.05,
    "dimensions": 768,
}
SMART: dict[str, Any] = {"name": "smart", "mode": "chat", "asked": False}
FILE = "/opt/llm-gateway/litellm/secrets/authorization.header"


def body_of(text: str) -> tuple[str, dict[str, Any]]:
    words = shlex.split(text.splitlines()[-1])
    assert words[:3] == ["sudo", "curl", "-sS"]
    assert f"@{FILE}" in words
    return words[3], json.loads(words[-1])


def test_it_shows_each_model_with_who_answered_and_how_fast() -> None:
    lines = receipt([SMART, LOCAL, EMBED], "127.0.0.1", "127.0.0.1", 4000, FILE).splitlines()
    assert lines[0] == "The gateway answers at http://127.0.0.1:4000/v1"
    assert "smart" in lines[3]
    assert "costs money" in lines[3]
    assert "llm_verify_paid" in lines[3]
    assert lines[4].split()[:2] == ["local", "chat"]
    assert "1.23" in lines[4]
    assert "first token of a stream after 0.31 s" in lines[4]
    assert "768 dimensions" in lines[5]


def test_its_command_asks_a_model_that_has_answered() -> None:
    url, body = body_of(receipt([SMART, LOCAL], "10.0.0.5", "10.0.0.5", 8001, FILE))
    assert url == "http://10.0.0.5:8001/v1/chat/completions"
    assert body["model"] == "local"
    assert body["messages"][0]["role"] == "user"


def test_its_command_asks_for_an_embedding_when_there_is_nothing_else() -> None:
    url, body = body_of(receipt([EMBED], "127.0.0.1", "0.0.0.0", 4000, FILE))
    assert url.endswith("/v1/embeddings")
    assert body == {"model": "embed", "input": "hello"}


def test_it_says_when_every_address_of_the_box_is_open() -> None:
    assert "every other address" in receipt([LOCAL], "127.0.0.1", "0.0.0.0", 4000, FILE).splitlines()[0]


def test_a_model_that_was_not_chosen_is_not_said_to_cost_money() -> None:
    text = receipt([LOCAL, {**EMBED, "asked": False, "note": "not asked"}], "127.0.0.1", "127.0.0.1", 4000, FILE)
    (line,) = [line for line in text.splitlines() if line.startswith("  embed")]
    assert line.split() == ["embed", "embedding", "not", "asked"]
