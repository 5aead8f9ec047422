"""Questions to the drill's replica, as a client puts them, and orders to its stand-in for providers."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKEND_HEADER = "x-litellm-model-id"
_CHAT = "/v1/chat/completions"
_MESSAGE_LENGTH = 200


class NotReached(Exception):
    """The drill's own containers do not answer as they must. The message says which and how."""


@dataclass(frozen=True)
class Answer:
    """What a client got.

    Attributes:
        status: HTTP status; 0 when there was no whole HTTP answer.
        waited: seconds until the client had something in hand: the whole answer, or the first token of a stream.
        backend: LiteLLM's id of who answered.
        complete: whether the answer came to its end.
        begun: whether a stream gave at least one token.
        error: message of an error, in the body or as an event of a stream.
        retry_after: value of that header.
    """

    status: int
    waited: float
    backend: str | None = None
    complete: bool = False
    begun: bool = False
    error: str = ""
    retry_after: str | None = None

    @property
    def good(self) -> bool:
        """Whether the client has all it asked for."""
        return self.status == 200 and self.complete and not self.error

    @property
    def seen(self) -> str:
        """The outcome in a few words."""
        if self.status == 0:
            return "no answer"
        if self.status != 200 or self.good:
            return str(self.status)
        place = "after the first words" if self.begun else "before the first word"
        return f"200, then an error {place}" if self.error else f"200, then silence {place}"


class Replica:
    """One replica of LiteLLM, asked directly.

    Args:
        host: its address.
        port: its TCP port.
        keys: the key of each client, and of ``admin``.
    """

    def __init__(self, host: str, port: int, keys: Mapping[str, str]) -> None:
        """Keep the address; nothing is asked yet."""
        self._host = host
        self._port = port
        self._keys = keys

    def ask(self, model: str, client: str, *, stream: bool = False, timeout: float = 30.0) -> Answer:
        """Ask a short question; a failed connection is an answer too. ``timeout`` is seconds of silence."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            "stream": stream,
        }
        headers = {"Authorization": f"Bearer {self._keys[client]}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        started = time.monotonic()
        try:
            connection.request("POST", _CHAT, json.dumps(body), headers)
            response = connection.getresponse()
            if stream and response.status == 200:
                return _read_stream(response, started)
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, time.monotonic() - started, error=type(error).__name__)
        finally:
            connection.close()
        return Answer(
            response.status,
            time.monotonic() - started,
            backend=response.getheader(BACKEND_HEADER),
            complete=True,
            error="" if response.status == 200 else _message(content),
            retry_after=response.getheader("retry-after"),
        )

    def reaches_redis(self, admin: str) -> bool:
        """Return whether the replica says that it reaches Redis."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10)
        try:
            connection.request("GET", "/cache/ping", headers={"Authorization": f"Bearer {self._keys[admin]}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _read_stream(response: http.client.HTTPResponse, started: float) -> Answer:
    first: float | None = None
    error = ""
    done = False
    try:
        for line in response:
            if not line.startswith(b"data:"):
                continue
            event = line[5:].strip()
            if event == b"[DONE]":
                done = True
            elif _event_error(event):
                error = _event_error(event)
            elif first is None and _has_text(event):
                first = time.monotonic() - started
    except (OSError, http.client.HTTPException):
        # A stream that breaks off; `done` tells it from one that ended.
        done = False
    waited = time.monotonic() - started if first is None else first
    backend = response.getheader(BACKEND_HEADER)
    return Answer(200, waited, backend=backend, complete=done, begun=first is not None, error=error)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _event_error(event: bytes) -> str:
    parsed = _parsed(event)
    return _message(event) if isinstance(parsed, dict) and parsed.get("error") else ""


def _has_text(event: bytes) -> bool:
    parsed = _parsed(event)
    choices = parsed.get("choices") if isinstance(parsed, dict) else None
    delta = (choices[0].get("delta") or {}) if choices else {}
    # A model that thinks first streams that.
    return any(isinstance(value, str) and value for key, value in delta.items() if key != "role")


def _message(content: bytes) -> str:
    parsed = _parsed(content)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    text = " ".join(str(said or content.decode("utf-8", "replace") or "an empty body").split())
    return text[:_MESSAGE_LENGTH]


class StandIn:
    """The control port of the drill's stand-in for providers."""

    def __init__(self, host: str, port: int) -> None:
        """Keep the address; nothing is asked yet."""
        self._host = host
        self._port = port

    def set_faults(self, faults: Mapping[str, str]) -> None:
        """Replace all faults by these, by provider.

        Raises:
            NotReached: the stand-in is away or knows no such fault.
        """
        self._ask("PUT", "/faults", faults)

    def hits(self) -> dict[str, int]:
        """Return the number of requests by provider.

        Raises:
            NotReached: the stand-in is away.
        """
        return {str(name): int(count) for name, count in self._ask("GET", "/hits", None).items()}

    def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException, socket.timeout) as error:
            raise NotReached(f"the stand-in for providers does not answer ({type(error).__name__})") from error
        finally:
            connection.close()
        parsed = _parsed(content)
        if response.status != 200 or not isinstance(parsed, dict):
            raise NotReached(f"the stand-in for providers refuses: {_message(content)}")
        return parsed
