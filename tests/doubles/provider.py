#!/usr/bin/env python3
"""Stand-in for cloud providers: OpenAI's and Anthropic's wire formats on one port, with faults on demand.

It checks keys, echoes the model, counts tokens, and remembers what reached it without keeping any prompt. The shapes
follow the two vendors' public API references. `README.md` beside this file lists the routes, faults and variables.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import importlib.util
import json
import math
import os
import re
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import urlsplit

OPENAI = "openai"
ANTHROPIC = "anthropic"
# Faults that answer with an HTTP error of this status.
STATUS_FAULTS = {
    **{str(status): status for status in (400, 401, 403, 404, 429, 500, 503)},
    "context": 400,
    "credit": 400,
}
# Message, kind and code; an account without money in Anthropic's words.
PLAIN_ERRORS = {
    "400": ("Invalid value for 'temperature'.", "invalid_request_error", "invalid_value"),
    "403": ("You are not allowed to use this model.", "permission_error", "permission_denied"),
    "404": ("The model does not exist.", "not_found_error", "model_not_found"),
    "503": ("The server is currently overloaded. Please try again later.", "server_error", None),
    "credit": ("Your credit balance is too low to access the Anthropic API.", "invalid_request_error", None),
}
FAULTS = ("refuse", "hang", "cut", "slow", *STATUS_FAULTS)
MIDDLE_FAULTS = ("refuse", "hang", "cut", "429", "500", "503")
EMBEDDING_DIMENSIONS = {"text-embedding-3-large": 3072}
DEFAULT_EMBEDDING_DIMENSIONS = 1536
MODELS = {
    OPENAI: ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small", "text-embedding-3-large"),
    ANTHROPIC: ("claude-opus-4-5", "claude-haiku-4-5"),
}
# A question that says how long the answer takes.
PACED = re.compile(r"(?P<words>[0-9]+) words, one every (?P<milliseconds>[0-9]+) ms")
# Request fields that hold what a user wrote; only their size is remembered.
PROMPT_FIELDS = frozenset({"messages", "input", "prompt", "system", "instructions", "tools", "suffix", "prediction"})

Json = dict[str, Any]


class ApiError(Exception):
    """An error a provider answers with. `kind` is what the vendor calls it, `code` and `param` are OpenAI's alone."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self, dialect: str) -> Json:
        """The error object of `dialect`."""
        if dialect == ANTHROPIC:
            return {
                "type": "error",
                "error": {"type": self.kind, "message": self.message},
                "request_id": "req_double",
            }
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


@dataclass
class Fault:
    """What goes wrong: for whom, before or in the middle of a stream, for how many requests, for how many seconds."""

    provider: str
    kind: str
    middle: bool
    seconds: float
    remaining: int | None

    @classmethod
    def from_request(cls, body: Json) -> Fault | None:
        """Read a control request, None when it clears; raise `ValueError` that says what to write instead."""
        provider, kind, place = body.get("provider", "*"), body.get("fault"), body.get("at", "start")
        seconds, count = body.get("seconds", 5), body.get("count")
        if provider not in {OPENAI, ANTHROPIC, "*"}:
            raise ValueError(f"provider is {provider!r}: write openai, anthropic or *")
        if kind in {None, "null"}:
            return None
        if kind not in FAULTS:
            raise ValueError(f"fault is {kind!r}: write null or one of {', '.join(FAULTS)}")
        if place not in {"start", "middle"} or (place == "middle" and kind not in MIDDLE_FAULTS):
            raise ValueError(f"at is {place!r}: write start, or middle for one of {', '.join(MIDDLE_FAULTS)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise ValueError(f"seconds is {seconds!r}: write a number from 0")
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ValueError(f"count is {count!r}: write a whole number from 1, or leave it out")
        return cls(provider, kind, place == "middle" or kind == "cut", float(seconds), count)

    def report(self) -> Json:
        """The fault as the control route shows it."""
        place = "middle" if self.middle else "start"
        return {"fault": self.kind, "at": place, "seconds": self.seconds, "count": self.remaining}


def fault_error(fault: Fault, dialect: str, model: str) -> ApiError:
    """The error that a fault with a status comes to in `dialect`."""
    openai = dialect == OPENAI
    retry_after = max(1, math.ceil(fault.seconds))
    if fault.kind == "429":
        kind = "requests" if openai else "rate_limit_error"
        message = f"Rate limit reached for {model}. Please try again in {retry_after}s."
        return ApiError(429, message, kind, code="rate_limit_exceeded", retry_after=retry_after)
    if fault.kind == "401":
        return wrong_key(dialect)
    if fault.kind in PLAIN_ERRORS:
        message, kind, code = PLAIN_ERRORS[fault.kind]
        if fault.kind == "503" and not openai:
            kind = "overloaded_error"
        return ApiError(STATUS_FAULTS[fault.kind], message, kind, code=code)
    if fault.kind == "context":
        if openai:
            message = "This model's maximum context length is 128000 tokens. Please reduce the length of the messages."
            return ApiError(400, message, "invalid_request_error", code="context_length_exceeded", param="messages")
        return ApiError(400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error")
    return ApiError(
        500, "The server had an error while processing your request.", "server_error" if openai else "api_error"
    )


def wrong_key(dialect: str) -> ApiError:
    """The refusal of a key that is not accepted; the key itself is not repeated."""
    if dialect == ANTHROPIC:
        return ApiError(401, "invalid x-api-key", "authentication_error")
    return ApiError(401, "Incorrect API key provided.", "invalid_request_error", code="invalid_api_key")


def missing_key(dialect: str) -> ApiError:
    """The refusal of a request without a key."""
    if dialect == ANTHROPIC:
        return ApiError(401, "x-api-key header is required", "authentication_error")
    message = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
    return ApiError(401, message, "invalid_request_error")


def without_prompts(body: Json) -> Json:
    """The request's fields, with the number of items and of characters in place of everything a user wrote."""
    kept: Json = {}
    for key, value in body.items():
        if key not in PROMPT_FIELDS:
            kept[key] = value
            continue
        kept[key] = {
            "items": len(value) if isinstance(value, list) else 1,
            "characters": len(value if isinstance(value, str) else json.dumps(value)),
        }
    return kept


class Ledger:
    """The faults in force and the counters of what reached the stand-in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}
        self._changes = 0
        self.reset()

    def reset(self) -> None:
        """Forget all counts and clear all faults."""
        with self._lock:
            self._faults.clear()
            self._changes += 1
            self._paths: Counter[str] = Counter()
            self._models: Counter[str] = Counter()
            self._providers: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._keys: Counter[str] = Counter()
            self._last: dict[str, Json] = {}

    def set_fault(self, body: Json) -> None:
        """Set or clear the fault of a provider, or of all with `*`; raise `ValueError` for what cannot be read."""
        fault = Fault.from_request(body)
        provider = body.get("provider", "*")
        with self._lock:
            self._changes += 1
            if provider == "*":
                self._faults.clear()
            self._faults.pop(provider, None)
            if fault is not None:
                self._faults[provider] = fault

    @property
    def changes(self) -> int:
        """Grows with every control request; a request that hangs does so until then."""
        with self._lock:
            return self._changes

    def take_fault(self, provider: str) -> Fault | None:
        """The fault that this request to `provider` has to suffer."""
        with self._lock:
            key = provider if provider in self._faults else "*"
            fault = self._faults.get(key)
            if fault is not None and fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    del self._faults[key]
            return fault

    def count_key(self, place: int) -> None:
        """Note which of the accepted keys, counted from 1, a request came with."""
        with self._lock:
            self._keys[str(place)] += 1

    def count(self, provider: str, path: str, body: Json) -> None:
        """Note that a request came in, whatever becomes of it."""
        with self._lock:
            self._paths[path] += 1
            self._providers[provider] += 1
            if body:
                self._models[str(body.get("model"))] += 1
                self._last[path] = without_prompts(body)

    def count_status(self, status: int) -> None:
        """Note with which HTTP status a request was answered."""
        with self._lock:
            self._statuses[str(status)] += 1

    def report(self) -> Json:
        """Counters, last bodies without prompts, and the faults in force."""
        with self._lock:
            return {
                "total": sum(self._paths.values()),
                "paths": dict(self._paths),
                "models": dict(self._models),
                "providers": dict(self._providers),
                "statuses": dict(self._statuses),
                "keys": dict(self._keys),
                "last": dict(self._last),
                "faults": {provider: fault.report() for provider, fault in self._faults.items()},
            }


@dataclass(frozen=True)
class Answer:
    """What the model says, one piece a token."""

    model: str
    prompt_tokens: int
    pieces: tuple[str, ...]
    clipped: bool
    pace: float | None
    """Seconds for each piece, where the question asks for it."""

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """Tokens of the answer."""
        return len(self.pieces)


def pieces(text: str) -> list[str]:
    """Cut `text` into words that keep the space before them: the tokens of this stand-in."""
    return re.findall(r"\s*\S+", text)


def content_text(content: object) -> str:
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def answer_to(body: Json, messages: list[Json], extra: str, limit: int | None) -> Answer:
    """Answer the last user message; `extra` is text outside the messages, `limit` the most tokens to say."""
    texts = [content_text(message.get("content")) for message in messages]
    users = [text for text, message in zip(texts, messages, strict=True) if message.get("role") == "user"]
    excerpt = " ".join(users[-1].split())[:200] if users else ""
    model = str(body.get("model"))
    said = pieces(f"This is {model} speaking through the provider stand-in. You wrote: {excerpt}")
    pace = None
    if asked := PACED.search(excerpt):
        said += [f" {number}" for number in range(len(said) + 1, int(asked["words"]) + 1)]
        pace = int(asked["milliseconds"]) / 1000
    prompt_tokens = sum(len(pieces(text)) + 4 for text in texts) + len(pieces(extra))
    clipped = limit is not None and 0 < limit < len(said)
    return Answer(model, prompt_tokens, tuple(said[:limit] if clipped else said), clipped, pace)


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that depends on `text` alone, in 32-bit floats."""
    raw = struct.unpack(f"<{dimensions}I", hashlib.shake_256(text.encode()).digest(4 * dimensions))
    centred = [value / 2**31 - 1 for value in raw]
    length = math.sqrt(sum(value * value for value in centred))
    packed = struct.pack(f"<{dimensions}f", *(value / length for value in centred))
    return list(struct.unpack(f"<{dimensions}f", packed))


def compact_json(value: object) -> bytes:
    """JSON bytes without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def event(data: Json, name: str = "") -> bytes:
    """One server-sent event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + compact_json(data) + b"\n\n"


def openai_usage(prompt: int, completion: int) -> Json:
    """Token counts as chat completions report them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_stream(head: Json, answer: Answer, usage: bool) -> Iterator[bytes]:
    """The chunks of a streamed chat completion; with `usage` each has the field and one more chunk fills it."""
    head = {**head, "object": "chat.completion.chunk"}
    empty: Json = {"usage": None} if usage else {}

    def chunk(delta: Json, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], **empty})

    yield chunk({"role": "assistant", "content": "", "refusal": None}, None)
    for piece in answer.pieces:
        yield chunk({"content": piece}, None)
    yield chunk({}, "length" if answer.clipped else "stop")
    if usage:
        yield event({**head, "choices": [], "usage": openai_usage(answer.prompt_tokens, answer.tokens)})
    yield b"data: [DONE]\n\n"


def responses_object(identifier: str, answer: Answer, status: str) -> Json:
    """The object of /v1/responses, in progress or completed."""
    done = status == "completed"
    part = {"type": "output_text", "text": answer.text, "annotations": []}
    item = {
        "id": f"msg_{identifier}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": f"resp_{identifier}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": [item] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.prompt_tokens + answer.tokens,
        }
        if done
        else None,
    }


def responses_stream(identifier: str, answer: Answer) -> Iterator[bytes]:
    """The events of a streamed /v1/responses."""
    done = responses_object(identifier, answer, "completed")
    item = done["output"][0]
    place: Json = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    started = responses_object(identifier, answer, "in_progress")
    fresh = {**item, "status": "in_progress", "content": []}
    steps: list[tuple[str, Json]] = [
        ("response.created", {"response": started}),
        ("response.in_progress", {"response": started}),
        ("response.output_item.added", {"output_index": 0, "item": fresh}),
        ("response.content_part.added", {**place, "part": {"type": "output_text", "text": "", "annotations": []}}),
        *(("response.output_text.delta", {**place, "delta": piece}) for piece in answer.pieces),
        ("response.output_text.done", {**place, "text": answer.text}),
        ("response.content_part.done", {**place, "part": item["content"][0]}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": done}),
    ]
    for number, (name, data) in enumerate(steps):
        yield event({"type": name, "sequence_number": number, **data}, name)


def anthropic_message(identifier: str, answer: Answer) -> Json:
    """The object of /v1/messages."""
    return {
        "id": f"msg_{identifier}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.clipped else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": answer.tokens,
        },
    }


def anthropic_stream(identifier: str, answer: Answer) -> Iterator[bytes]:
    """The events of a streamed /v1/messages, from message_start to message_stop."""
    whole = anthropic_message(identifier, answer)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    steps: list[Json] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in answer.pieces
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": answer.tokens}},
        {"type": "message_stop"},
    ]
    for step in steps:
        yield event(step, step["type"])


class ProviderServer(ThreadingHTTPServer):
    """The HTTP server; `keys` are accepted by both dialects, `chunk_seconds` is the time between two pieces."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], keys: tuple[str, ...], chunk_seconds: float) -> None:
        self.keys = keys
        self.chunk_seconds = chunk_seconds
        self._lock = threading.Lock()
        self._ledgers: dict[str, Ledger] = {}
        self.stopping = threading.Event()
        super().__init__(address, ProviderHandler)

    def ledger_of(self, machine: str) -> Ledger:
        """What concerns the machine at an address: boxes of scenarios that run at the same time do not meet here."""
        with self._lock:
            return self._ledgers.setdefault(machine, Ledger())

    def stop(self) -> None:
        """End requests that hang or wait, then stop serving; call it from another thread than the serving one."""
        self.stopping.set()
        self.shutdown()


@dataclass
class Exchange:
    """The request being answered."""

    dialect: str
    path: str
    body: Json = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def identifier(self) -> str:
        """An identifier that depends on the request's size and time."""
        return hashlib.sha256(f"{self.path}{time.time_ns()}".encode()).hexdigest()[:24]


class ProviderHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "provider-double"
    sys_version = ""
    disable_nagle_algorithm = True
    server: ProviderServer

    routes: ClassVar[dict[str, Callable[[ProviderHandler, Exchange], None]]] = {}

    @property
    def ledger(self) -> Ledger:
        """The faults and counters of the machine that asks."""
        return self.server.ledger_of(self.client_address[0])

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Write an access line; it holds the path, never a body or a key."""
        print(f"{self.log_date_time_string()} {format % args}", file=sys.stderr, flush=True)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Count the status of an answer to a client, then log it."""
        if not self.path.startswith("/_double/"):
            self.ledger.count_status(int(code))
        super().log_request(code, size)

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/_double/"):
            self._control(path, raw)
            return
        names_anthropic = self.headers.get("x-api-key") or self.headers.get("anthropic-version")
        exchange = Exchange(ANTHROPIC if path.startswith("/v1/messages") or names_anthropic else OPENAI, path)
        try:
            self._answer(exchange, raw)
        except ApiError as error:
            self._send_error(exchange.dialect, error)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _control(self, path: str, raw: bytes) -> None:
        ledger = self.ledger
        try:
            if f"{self.command} {path}" == "POST /_double/fault":
                ledger.set_fault(json.loads(raw))
            elif f"{self.command} {path}" == "POST /_double/reset":
                ledger.reset()
            elif f"{self.command} {path}" != "GET /_double/counters":
                self._send_json(404, {"error": f"no control route {self.command} {path}"})
                return
        except ValueError as error:
            self._send_json(400, {"error": str(error)})
            return
        self._send_json(200, ledger.report())

    def _answer(self, exchange: Exchange, raw: bytes) -> None:
        readable = True
        try:
            parsed = json.loads(raw) if raw else {}
            readable = isinstance(parsed, dict)
            exchange.body = parsed if readable else {}
        except ValueError:
            readable = False
        self.ledger.count(exchange.dialect, exchange.path, exchange.body)
        exchange.fault = self.ledger.take_fault(exchange.dialect)
        if exchange.fault is not None and not self._survives(exchange, exchange.fault):
            return
        self._check_key(exchange.dialect)
        route = self.routes.get(f"{self.command} {exchange.path}")
        if route is None:
            kind = "not_found_error" if exchange.dialect == ANTHROPIC else "invalid_request_error"
            raise ApiError(404, f"Invalid URL ({self.command} {exchange.path})", kind)
        if self.command == "POST" and not readable:
            raise ApiError(400, "We could not parse the JSON body of your request.", "invalid_request_error")
        if self.command == "POST" and not isinstance(exchange.body.get("model"), str):
            raise ApiError(400, "you must provide a model parameter", "invalid_request_error", param="model")
        route(self, exchange)

    def _check_key(self, dialect: str) -> None:
        authorization = self.headers.get("Authorization") or ""
        bearer = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
        key = (self.headers.get("x-api-key") or "") if dialect == ANTHROPIC else bearer
        if not key:
            raise missing_key(dialect)
        for place, accepted in enumerate(self.server.keys, start=1):
            if hmac.compare_digest(key.encode(), accepted.encode()):
                self.ledger.count_key(place)
                return
        raise wrong_key(dialect)

    def _survives(self, exchange: Exchange, fault: Fault) -> bool:
        """Suffer what a fault does before the answer; say whether there is to be an answer at all."""
        in_stream = bool(exchange.body.get("stream"))
        if fault.middle and (in_stream or fault.kind == "cut"):
            return True
        if fault.kind == "slow":
            self.server.stopping.wait(fault.seconds)
            return not self._client_left()
        if fault.kind == "hang":
            self._hang()
        if fault.kind in {"refuse", "hang"}:
            self._reset()
            return False
        raise fault_error(fault, exchange.dialect, str(exchange.body.get("model")))

    def _hang(self) -> None:
        changes = self.ledger.changes
        while self.ledger.changes == changes and not self._client_left():
            if self.server.stopping.wait(0.02):
                return

    def _reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def _send_json(self, status: int, body: object, retry_after: int | None = None, cut: bool = False) -> None:
        content = compact_json(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def _send_error(self, dialect: str, error: ApiError) -> None:
        self._send_json(error.status, error.body(dialect), error.retry_after)

    def _pace(self, answer: Answer) -> float:
        return self.server.chunk_seconds if answer.pace is None else answer.pace

    def _send_whole(self, exchange: Exchange, answer: Answer, body: Json) -> None:
        self.server.stopping.wait(self._pace(answer) * answer.tokens)
        self._send_json(200, body, cut=exchange.fault is not None and exchange.fault.kind == "cut")

    def _stream(self, exchange: Exchange, answer: Answer, events: Iterator[bytes]) -> None:
        """Send `events` as they come; a fault in the middle strikes after half of the answer's pieces."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        fault = exchange.fault if exchange.fault is not None and exchange.fault.middle else None
        last = max(2, answer.tokens // 2)
        pace = self._pace(answer)
        for sent, content in enumerate(events, start=1):
            self.server.stopping.wait(pace)
            self._write_chunk(content)
            if fault is not None and sent == last:
                self._break_stream(exchange, fault)
                return
        self.wfile.write(b"0\r\n\r\n")

    def _break_stream(self, exchange: Exchange, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "hang":
            self._hang()
        if fault.kind in {"hang", "refuse"}:
            self._reset()
        elif fault.kind in STATUS_FAULTS:
            # The status is out already: the vendors send the error as an event and end the stream.
            body = fault_error(fault, exchange.dialect, str(exchange.body.get("model"))).body(exchange.dialect)
            self._write_chunk(event(body, "error" if exchange.dialect == ANTHROPIC else ""))
            self.wfile.write(b"0\r\n\r\n")

    def _write_chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def _models(self, exchange: Exchange) -> None:
        now = int(time.time())
        if exchange.dialect == ANTHROPIC:
            entries = [
                {"type": "model", "id": name, "display_name": name, "created_at": "2025-11-01T00:00:00Z"}
                for name in MODELS[ANTHROPIC]
            ]
            ends = {"first_id": MODELS[ANTHROPIC][0], "last_id": MODELS[ANTHROPIC][-1]}
            self._send_json(200, {"data": entries, "has_more": False, **ends})
            return
        data = [{"id": name, "object": "model", "created": now, "owned_by": "openai"} for name in MODELS[OPENAI]]
        self._send_json(200, {"object": "list", "data": data})

    def _chat(self, exchange: Exchange) -> None:
        body = exchange.body
        answer = answer_to(body, messages_of(body), "", body.get("max_completion_tokens") or body.get("max_tokens"))
        head: Json = {
            "id": f"chatcmpl-{exchange.identifier}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_double",
        }
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            self._stream(exchange, answer, chat_stream(head, answer, usage))
            return
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        finish = "length" if answer.clipped else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        usage_counts = openai_usage(answer.prompt_tokens, answer.tokens)
        self._send_whole(exchange, answer, {**head, "choices": [choice], "usage": usage_counts})

    def _embeddings(self, exchange: Exchange) -> None:
        body = exchange.body
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts:
            raise ApiError(400, "'$.input' is invalid.", "invalid_request_error", param="input")
        model = str(body["model"])
        own = EMBEDDING_DIMENSIONS.get(model, DEFAULT_EMBEDDING_DIMENSIONS)
        dimensions = int(body.get("dimensions") or own)
        vectors = [unit_vector(f"{model} {text}", dimensions) for text in texts]
        as_base64 = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
                if as_base64
                else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(len(pieces(str(text))) + 1 for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        cut = exchange.fault is not None and exchange.fault.kind == "cut"
        self._send_json(200, {"object": "list", "data": data, "model": model, "usage": usage}, cut=cut)

    def _responses(self, exchange: Exchange) -> None:
        body = exchange.body
        given = body.get("input")
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(messages, list) or not messages:
            raise ApiError(400, "Missing required parameter: 'input'.", "invalid_request_error", param="input")
        answer = answer_to(body, messages, str(body.get("instructions") or ""), body.get("max_output_tokens"))
        if body.get("stream"):
            self._stream(exchange, answer, responses_stream(exchange.identifier, answer))
            return
        self._send_whole(exchange, answer, responses_object(exchange.identifier, answer, "completed"))

    def _messages(self, exchange: Exchange) -> None:
        body = exchange.body
        if not self.headers.get("anthropic-version"):
            raise ApiError(400, "anthropic-version: header is required", "invalid_request_error")
        if not isinstance(body.get("max_tokens"), int):
            raise ApiError(400, "max_tokens: Field required", "invalid_request_error")
        answer = answer_to(body, messages_of(body), content_text(body.get("system")), body["max_tokens"])
        if body.get("stream"):
            self._stream(exchange, answer, anthropic_stream(exchange.identifier, answer))
            return
        self._send_whole(exchange, answer, anthropic_message(exchange.identifier, answer))

    routes.update(
        {
            "GET /v1/models": _models,
            "POST /v1/chat/completions": _chat,
            "POST /v1/embeddings": _embeddings,
            "POST /v1/responses": _responses,
            "POST /v1/messages": _messages,
        }
    )


def messages_of(body: Json) -> list[Json]:
    """The messages of a request; raise `ApiError` 400 when there are none."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages) or not messages:
        raise ApiError(400, "messages: at least one message is required", "invalid_request_error", param="messages")
    return messages


def ollama_double() -> ModuleType:
    """The Ollama stand-in from the file beside this one; raise `FileNotFoundError` when it is not there."""
    path = Path(__file__).with_name("ollama.py")
    spec = importlib.util.spec_from_file_location("ollama_double", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"{path} is missing: put ollama.py and provider.py into one folder")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def registry_server(address: tuple[str, int], certificate: Path, key: Path) -> ThreadingHTTPServer:
    """A TLS server that answers manifests as registry.ollama.ai does; `certificate` may hold the whole chain."""
    answer: Callable[[str], tuple[int, str, bytes]] = ollama_double().registry_answer

    class RegistryHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._manifest()

        def do_HEAD(self) -> None:
            self._manifest()

        def _manifest(self) -> None:
            status, content_type, content = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(address, RegistryHandler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake happens at the first read, in the connection's own thread: a slow client holds up no other.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(description="Stand-in for OpenAI and Anthropic; PROVIDER_KEYS lists its keys.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--ollama-registry-port", type=int, help="also answer for registry.ollama.ai here, over TLS")
    parser.add_argument("--cert", type=Path, help="certificate of the registry")
    parser.add_argument("--key", type=Path, help="private key of the registry")
    options = parser.parse_args(arguments)
    keys = tuple(key.strip() for key in environment.get("PROVIDER_KEYS", "").split(",") if key.strip())
    if not keys:
        parser.error("PROVIDER_KEYS is empty: set it to the keys to accept, with commas between them")
    registry_options = (options.ollama_registry_port, options.cert, options.key)
    if any(option is not None for option in registry_options) and None in registry_options:
        parser.error("--ollama-registry-port, --cert and --key belong together: give all three or none")

    chunk_seconds = float(environment.get("PROVIDER_CHUNK_SECONDS") or 0.01)
    server = ProviderServer((options.host, options.port), keys, chunk_seconds)
    registry = None
    if options.ollama_registry_port is not None:
        registry = registry_server((options.host, options.ollama_registry_port), options.cert, options.key)
        threading.Thread(target=registry.serve_forever, daemon=True).start()

    def stop(_signal: int, _frame: object) -> None:
        threading.Thread(target=server.stop).start()

    # As process 1 of a container it would otherwise not react to SIGTERM at all.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"provider stand-in listens on {options.host}:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    if registry is not None:
        registry.shutdown()
        registry.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
