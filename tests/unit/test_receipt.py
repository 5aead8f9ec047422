"""The receipt says where the gateway is and who answered, and its command can be pasted."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.gateway.receipt import receipt
from tests.unit.gateway_stand_in import KEY, served

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


CA = "/var/lib/llm-gateway/ingress/caddy/pki/authorities/local/root.crt"


def body_of(text: str) -> tuple[str, dict[str, Any]]:
    words = shlex.split(text.splitlines()[-1])
    assert words[:3] == ["sudo", "curl", "-sS"]
    assert f"@{FILE}" in words
    (url,) = [word for word in words if "://" in word]
    return url, json.loads(words[-1])


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
    url, body = body_of(receipt([EMBED], "127.0.0.1", "127.0.0.1", 4000, FILE))
    assert url.endswith("/v1/embeddings")
    assert body == {"model": "embed", "input": "hello"}


def test_other_machines_get_a_command_with_the_authority_and_a_clients_key() -> None:
    hosts = ["gw.lan", "192.168.1.10", "localhost", "127.0.0.1"]
    text = receipt(
        [LOCAL], "gw.lan", "127.0.0.1", 4000, FILE, scheme="https", hosts=hosts, ca_file=CA, fetched_ca="ca/box.crt"
    )
    assert text.splitlines()[0] == "The gateway answers at https://gw.lan:4000/v1 (also as 192.168.1.10)"
    here, there = (shlex.split(line.rpartition(" | ")[2]) for line in text.splitlines() if " curl " in f" {line} ")
    assert here[:6] == ["curl", "-sS", "--cacert", "ca/box.crt", "-H", "@-"]
    assert here[6] == "https://gw.lan:4000/v1/chat/completions"
    # The box reaches itself without asking a name server.
    assert there[:7] == ["sudo", "curl", "-sS", "--cacert", CA, "--connect-to", "::127.0.0.1:4000"]
    assert here[7:] == there[10:]


def test_the_command_for_other_machines_sends_the_key_and_shows_it_to_nobody(tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$SEEN"\nexec "$CURL" --connect-to "::127.0.0.1:$PORT" "$@"\n')
    curl.chmod(0o755)
    real = shutil.which("curl")
    if real is None:
        pytest.skip("there is no curl on this machine")
    for gateway in served():
        text = receipt([LOCAL], "gateway.test", "127.0.0.1", gateway.server_port, FILE, fetched_ca="my own/ca.pem")
        (command,) = [line for line in text.splitlines() if "| curl" in line]
        found = {"CURL": real, "PORT": str(gateway.server_port), "SEEN": str(tmp_path / "seen"), "LLM_KEY": KEY}
        subprocess.run(
            ["sh", "-c", command],
            env={**os.environ, **found, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            check=True,
            capture_output=True,
        )
        assert [(path, key) for _, path, key, _ in gateway.asked] == [("/v1/chat/completions", f"Bearer {KEY}")]
    arguments = (tmp_path / "seen").read_text().splitlines()
    assert KEY not in "".join(arguments)
    assert "my own/ca.pem" in arguments


def test_a_gateway_for_the_box_alone_is_tried_there_alone() -> None:
    text = receipt([LOCAL], "127.0.0.1", "127.0.0.1", 4000, FILE, scheme="https", ca_file=CA, fetched_ca="ca/box.crt")
    assert [line.split()[0] for line in text.splitlines() if " curl " in f" {line} "] == ["sudo"]
    assert "--connect-to" not in text


def test_a_certificate_that_everybody_trusts_needs_no_file() -> None:
    assert "--cacert" not in receipt([LOCAL], "llm.example.org", "127.0.0.1", 443, FILE, scheme="https")


def test_a_model_that_was_not_chosen_is_not_said_to_cost_money() -> None:
    text = receipt([LOCAL, {**EMBED, "asked": False, "note": "not asked"}], "127.0.0.1", "127.0.0.1", 4000, FILE)
    (line,) = [line for line in text.splitlines() if line.startswith("  embed")]
    assert line.split() == ["embed", "embedding", "not", "asked"]
