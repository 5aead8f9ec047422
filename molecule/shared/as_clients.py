"""Questions that clients ask the gateway of a box, with their own keys; all of them go through the published port."""

from __future__ import annotations

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import on_boxes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testinfra.host import Host

CHAT = "/v1/chat/completions"
_numbers = count()
_chains = count(1)


@dataclass(frozen=True)
class Answer:
    """What a client sees.

    Attributes:
        status: HTTP status.
        headers: by name in small letters.
        text: the body.
        seconds: from the first byte sent to the last byte received, as curl measures it.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float

    @property
    def model(self) -> str | None:
        """The model of the catalog that answered."""
        return self.headers.get("x-litellm-model-group")

    @property
    def backend(self) -> str | None:
        """The deployment that answered."""
        return self.headers.get("x-litellm-model-id")

    @property
    def cached(self) -> bool:
        """Whether the answer comes from the cache."""
        return "x-litellm-cache-key" in self.headers

    @property
    def error(self) -> str:
        """The message of an error."""
        return str(json.loads(self.text)["error"]["message"])


def key_of(client: str) -> str:
    """Return the key of a client of the catalog, as the bed planted it."""
    return on_boxes.secrets()[f"vault_client_{client.replace('-', '_')}_key"]


def ask_as(
    host: Host,
    client: str,
    body: Mapping[str, Any] | None,
    path: str = CHAT,
    *,
    headers: tuple[str, ...] = (),
    method: str | None = None,
    port: int = 4000,
) -> Answer:
    """Ask as a client; the body of a GET is None."""
    url = f"{on_boxes.gateway(port)}{path}"
    command = [*on_boxes.CURL, "-sS", "-m", "60", "-D", "-", "-w", "\n%{time_total}", url]
    for header in (f"Authorization: Bearer {key_of(client)}", *headers):
        command += ["-H", header]
    if method is not None:
        command += ["-X", method]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    head, _, rest = host.check_output(shlex.join(command)).replace("\r\n", "\n").partition("\n\n")
    text, _, seconds = rest.rpartition("\n")
    status, *lines = head.splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    return Answer(int(status.split()[1]), {name.lower(): value for name, value in found.items()}, text, float(seconds))


def unspoilt_model() -> str:
    """Return a model that nobody has made fail yet; scenario `routing` has 55 of them."""
    return f"chain-{next(_chains)}"


def question(model: str, text: str = "", **more: Any) -> dict[str, Any]:
    """Return a chat that nobody asked before, unless ``text`` is given."""
    content = text or f"Question {next(_numbers)} at {time.time()}."
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 40, **more}


def ask_many(host: Host, client: str, model: str, times: int, **more: Any) -> list[Answer]:
    """Ask one after the other, a new question each time."""
    return [ask_as(host, client, question(model, **more)) for _ in range(times)]


def ask_at_once(host: Host, client: str, model: str, times: int) -> list[Answer]:
    """Ask at the same time."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: ask_as(host, client, question(model)), range(times)))


def redis(host: Host, *command: str) -> str:
    """Run a command of Redis in its container; the password stays in there."""
    inner = f'REDISCLI_AUTH="$(cat /run/redis-secrets/password)" redis-cli {shlex.join(command)}'
    return str(host.check_output(f"docker exec llm-gateway-redis sh -c {shlex.quote(inner)}"))


def log_lines(host: Host) -> list[dict[str, Any]]:
    """Return the log lines of all requests, of all replicas."""
    lines = []
    for replica in on_boxes.REPLICAS:
        printed = host.check_output(f"docker logs {replica} 2>/dev/null").splitlines()
        lines += [json.loads(line) for line in printed if line.startswith('{"event": "request"')]
    return sorted(lines, key=lambda line: str(line["time"]))
