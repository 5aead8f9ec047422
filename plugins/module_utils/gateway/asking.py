"""Requests to a gateway over HTTP or HTTPS, with what went wrong as sentences for the person who runs the playbook."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BACKEND_HEADER = "x-litellm-model-id"
QUICK_SECONDS = 10.0
ERROR_LENGTH = 300
TEXT_LENGTH = 60
LARGEST_ANSWER = 8 * 1024 * 1024

_KEY_LIKE = re.compile(r"sk-[A-Za-z0-9_*.-]{4,}|(?i:bearer)\s+\S+")


class NoAnswer(Exception):
    """The gateway gave no usable HTTP answer. The message is a sentence for the user."""


class TooLate(NoAnswer):
    """There was no answer, or no end of it, within the time that it had."""


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; ``seconds`` is the time until it was complete."""

    status: int
    backend_id: str | None
    body: bytes
    seconds: float


@dataclass(frozen=True)
class StreamReply(Reply):
    """A streamed answer.

    ``error`` is the message of an error event, ``done`` whether [DONE] came last. ``arrivals`` counts how often text
    came out of the connection, ``spread_seconds`` is the time from its first to its last text.
    """

    text: str = ""
    first_token_seconds: float | None = None
    done: bool = False
    error: str = ""
    arrivals: int = 0
    spread_seconds: float = 0.0


@dataclass(frozen=True)
class Route:
    """How a gateway is reached when its URL alone does not tell.

    Attributes:
        connect_to: address to dial in place of the URL's host, which stays the name for TLS and for the header Host.
        ca_file: file with the certificates that may have signed the gateway's; empty for those the system trusts.
        ca_pem: the same as text, in place of a file.
    """

    connect_to: str = ""
    ca_file: str = ""
    ca_pem: str = ""

    def tls(self) -> ssl.SSLContext:
        """Return what checks the gateway's certificate. Raises ValueError when the certificates cannot be read."""
        try:
            return ssl.create_default_context(cafile=self.ca_file or None, cadata=self.ca_pem or None)
        except (OSError, ValueError) as error:
            place = self.ca_file or "the certificate handed over"
            raise ValueError(f"ca_file: {place} cannot be read as certificates in PEM ({error})") from error


class _Connection(http.client.HTTPConnection):
    """Dials one address and speaks to it by the name of another, with or without TLS."""

    def __init__(self, host: str, port: int | None, dial: str, tls: ssl.SSLContext | None, timeout: float) -> None:
        if tls is not None:
            # http.client leaves the usual port of the scheme out of the header Host.
            self.default_port = http.client.HTTPS_PORT
        super().__init__(host, port, timeout=timeout)
        self._dial = dial
        self._tls = tls

    def connect(self) -> None:
        """Connect, and shake hands where TLS is spoken."""
        self.sock = socket.create_connection((self._dial, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            plain = self.sock
            try:
                self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
            except OSError:
                plain.close()
                raise


class Gateway:
    """Asks one gateway directly and never through a proxy.

    ``log_hint`` is the command that shows the gateway's log; a network failure ends with it. Raises ValueError for a
    URL that is no plain http or https address, and for certificates that cannot be read.
    """

    def __init__(self, url: str, api_key: str, log_hint: str = "", route: Route | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ValueError(f"url: '{_hide(url, [api_key])}' must be an address such as http://127.0.0.1:4000")
        route = route or Route()
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/")
        self._dial = route.connect_to or parts.hostname
        self._tls = route.tls() if parts.scheme == "https" else None
        self._api_key = api_key
        self.wrong_key = "sk-wrong-" + secrets.token_hex(16)
        self._hint = f" Look at: {log_hint}" if log_hint else ""

    @property
    def place(self) -> str:
        """The URL, and the address that is dialled where it is another one."""
        return self.url if self._dial == self._host else f"{self.url} (asked at {self._dial})"

    def clean(self, text: str, length: int = ERROR_LENGTH) -> str:
        """Return text on one line, without anything that is or looks like a key, cut to ``length`` characters."""
        line = " ".join(_hide(text, [self._api_key, self.wrong_key]).split())
        return line if len(line) <= length else line[: length - 3] + "..."

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = "own",
        timeout: float = QUICK_SECONDS,
        host: str = "",
    ) -> Reply:
        """Ask and read the whole answer.

        Args:
            method: HTTP method.
            path: path below the gateway's URL.
            body: sent as JSON.
            key: "own", "wrong", or None to send no key.
            timeout: seconds for everything from the connection to the last byte.
            host: header Host in place of the URL's own.

        Raises:
            NoAnswer: the network or the gateway gave no complete HTTP answer in time.
        """
        started = time.monotonic()
        late = f"no answer within {timeout:.3g} s"
        with self._open(method, path, body, key, timeout, late, host) as (response, sock):
            content = b""
            part = next_part(response, sock, started + timeout)
            while part:
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise NoAnswer(f"{method} {path}: the answer is larger than {LARGEST_ANSWER} bytes")
                part = next_part(response, sock, started + timeout)
            return Reply(response.status, response.getheader(BACKEND_HEADER), content, time.monotonic() - started)

    def ask_stream(
        self, path: str, body: dict[str, Any], timeout: float, first_token_timeout: float | None
    ) -> StreamReply:
        """Ask for a stream of server-sent events and read it to its end.

        Args:
            path: path below the gateway's URL.
            body: sent as JSON.
            timeout: seconds for everything.
            first_token_timeout: seconds until the first text; None for ``timeout``.

        Raises:
            NoAnswer: as in ``ask``, or no first text in time.
        """
        started = time.monotonic()
        first_limit = timeout if first_token_timeout is None else min(first_token_timeout, timeout)
        late = f"no first token within {first_limit:g} s"
        events = _EventReader()
        times: list[float] = []
        raw = b""
        with self._open("POST", path, body, "own", first_limit, late) as (response, sock):
            while not events.done:
                try:
                    part = next_part(response, sock, started + (timeout if times else first_limit))
                except socket.timeout as error:
                    if not times:
                        raise
                    raise TooLate(f"POST {path}: the stream did not end within {timeout:g} s.{self._hint}") from error
                known = len(events.text)
                if response.status == 200:
                    events.feed(part or b"\n")
                else:
                    raw = (raw + part)[:LARGEST_ANSWER]
                if len(events.text) > known:
                    times.append(time.monotonic() - started)
                if not part:
                    break
            return StreamReply(
                response.status,
                response.getheader(BACKEND_HEADER),
                raw,
                time.monotonic() - started,
                text=events.text,
                first_token_seconds=times[0] if times else None,
                done=events.done,
                error=events.error,
                arrivals=len(times),
                spread_seconds=times[-1] - times[0] if times else 0.0,
            )

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        key: str | None,
        timeout: float,
        late: str,
        host: str = "",
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Send a request, give the answer with its headers read, and turn every network error into NoAnswer.

        ``late`` says what did not come in time when the socket runs into its time limit.
        """
        headers = {"Accept": "application/json", "Connection": "close"}
        if host:
            headers["Host"] = host
        if key is not None:
            headers["Authorization"] = "Bearer " + (self._api_key if key == "own" else self.wrong_key)
        payload = None
        if body is not None:
            payload = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + timeout
        connection = _Connection(self._host, self._port, self._dial, self._tls, timeout)
        place = f"{method} {path}"
        try:
            connection.connect()
            sock = connection.sock
            connection.request(method, self._base + path, body=payload, headers=headers)
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            with connection.getresponse() as response:
                yield response, sock
        except socket.timeout as error:
            raise TooLate(f"{place}: {late}.{self._hint}") from error
        except ConnectionRefusedError as error:
            raise NoAnswer(f"{place}: nothing listens at {self.place}.{self._hint}") from error
        except ssl.SSLCertVerificationError as error:
            seen = self.clean(error.verify_message or str(error))
            raise NoAnswer(f"{place}: the certificate of {self.place} is not trusted ({seen}).{self._hint}") from error
        except (http.client.HTTPException, OSError) as error:
            seen = self.clean(f"{type(error).__name__} {error}")
            raise NoAnswer(f"{place}: the connection to {self.place} failed ({seen}).{self._hint}") from error
        finally:
            connection.close()


class _EventReader:
    """Collects the text of a stream of chat completion chunks."""

    def __init__(self) -> None:
        self._rest = b""
        self.text = ""
        self.error = ""
        self.done = False

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes, which may end in the middle of a line."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            data = line.strip()
            if data.startswith(b"data:"):
                self._take(data[len(b"data:") :].strip())

    def _take(self, data: bytes) -> None:
        self.done = data == b"[DONE]"
        if self.done or not data:
            return
        try:
            event = json.loads(data)
        except ValueError:
            self.error = self.error or "an event is no JSON: " + data.decode("utf-8", "replace")
            return
        if isinstance(event, dict) and event.get("error"):
            self.error = self.error or error_message(data)
            return
        self.text += text_of(event, "delta")


def _hide(text: str, keys: Sequence[str]) -> str:
    for key in keys:
        if key:
            text = text.replace(key, "(key)")
    return _KEY_LIKE.sub("(key)", text)


def next_part(response: http.client.HTTPResponse, sock: socket.socket, deadline: float) -> bytes:
    """Return the next bytes, empty at the end; socket.timeout at ``deadline``, however slowly an answer drips."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise socket.timeout("timed out")
    if response.isclosed():
        # The socket went with the last byte of an answer that says `Connection: close`, as uvicorn's do.
        return b""
    sock.settimeout(remaining)
    return response.read1(65536)


def parsed(body: bytes) -> Any:
    """Return the parsed body, or None if it is no JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def first_message(answer: Any, part: str) -> dict[str, Any]:
    """Return the message (or "delta") of the first choice; empty when there is none."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    message = choices[0].get(part) if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    return message if isinstance(message, dict) else {}


def finish_reason(answer: Any) -> str:
    """Return why the first choice ended, such as ``length``; empty when it does not say."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    return str(choice.get("finish_reason") or "")


def text_of(answer: Any, part: str) -> str:
    """Return the text of the first choice; a thinking model may spend a short answer on its reasoning alone."""
    message = first_message(answer, part)
    found = [message.get(key) for key in ("content", "reasoning_content", "reasoning")]
    return next((text for text in found if isinstance(text, str) and text), "")


def error_message(body: bytes) -> str:
    """Return the message in an error body (OpenAI's and FastAPI's forms), else the body's own text."""
    answer = parsed(body)
    found = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else None
    if isinstance(found, dict):
        found = found.get("message")
    return found if isinstance(found, str) and found else body.decode("utf-8", "replace")


def seen(gateway: Gateway, reply: Reply) -> str:
    """Return the status and what the body says."""
    said = gateway.clean(error_message(reply.body))
    # A sentence follows in many messages; dots mean that something was cut off.
    said = said[:-1] if said.endswith(".") and not said.endswith("...") else said
    return f"status {reply.status}, {said or 'empty body'}"
