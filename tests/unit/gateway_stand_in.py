"""A stand-in that answers as a gateway does, and what runs the module gateway_check against it."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.modules import gateway_check

KEY = "planted-master-key-4711"
HINT = "docker logs llm-gateway-ingress"
REPLICA_HINT = "docker logs llm-gateway-litellm-1"
METRICS = "# TYPE litellm_proxy_total_requests_metric_total counter\n"
# The body that LiteLLM sends while it does not reach Redis: the message is JSON in itself, with the settings of Redis.
REDIS_AWAY = {
    "error": {
        "message": json.dumps({"message": "Service Unhealthy", "litellm_cache_params": '{"namespace": "planted"}'}),
        "type": "cache_ping_error",
        "code": "503",
    }
}
MODELS: list[dict[str, Any]] = [
    {"name": "smart", "paid": True, "timeout": 5, "backends": [{"id": "smart-1", "description": "anthropic claude"}]},
    {
        "name": "local",
        "timeout": 5,
        "first_token_timeout": 4,
        "backends": [{"id": "local-1", "description": "ollama tiny on box1"}, {"id": "local-2"}],
    },
    {"name": "embed", "mode": "embedding", "timeout": 5, "backends": [{"id": "embed-1"}]},
]


def vector_of(text: str) -> list[float]:
    """Three numbers that depend on the text alone."""
    return [float(byte) - 128 for byte in hashlib.sha256(text.encode()).digest()[:3]]


@dataclass
class Behaviour:
    """What the stand-in does; the defaults are those of a healthy gateway."""

    keys: tuple[str, ...] = (KEY,)
    open_to_all: bool = False
    refusal: int = 401
    names: tuple[str, ...] = ("smart", "local", "embed")
    backends: dict[str, str] = field(
        default_factory=lambda: {"smart": "smart-1", "local": "local-2", "embed": "embed-1"}
    )
    message: dict[str, Any] = field(default_factory=lambda: {"content": "Hello there"})
    deltas: tuple[str, ...] = ("Hel", "lo")
    stream_end: str = "data: [DONE]\n\n"
    vector: Any = (0.1, -0.2, 3)
    replies: dict[str, tuple[int, str]] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    before_first_token: float = 0.0
    drip: float = 0.0
    starting_until: float = 0.0
    # So many times Redis is still away when it is asked for.
    redis_away_times: int = 0
    # All pieces of a stream are sent at once.
    together: bool = False
    # So many streams come in one piece first.
    collected_times: int = 0
    # Between two pieces of a stream, in seconds.
    pause: float = 0.0
    # What a word of a prompt counts, how many tokens fit, and whether more are refused or cut off.
    tokens_a_word: float = 1.5
    window: int = 100_000
    refuses_long: bool = False
    reports_usage: bool = True
    # A prompt of more tokens gets no answer.
    hangs_over: int = 1_000_000
    # Backends that answer in turn, in place of the one in `backends`.
    turns: list[str] = field(default_factory=list)
    # What a token of a prompt takes, in seconds.
    seconds_a_token: float = 0.0
    tool_choices: tuple[str, ...] = ("required", "auto")
    # So many questions with a tool are answered in words before one is answered by a call.
    words_before_call: int = 0
    finish_reason: str = "stop"
    takes_temperature: bool = True
    tool_calls: Any = ({"function": {"name": "note_number", "arguments": '{"number": 7}'}},)
    vectors: Callable[[str], list[float]] = field(default=vector_of)
    # An ingress before it lets only these routes through, and only for these hosts.
    ingress: bool = False
    open_routes: tuple[str, ...] = ("/v1/models", "/v1/chat/completions", "/v1/embeddings", "/health/liveliness")
    open_hosts: tuple[str, ...] = ("127.0.0.1", "gateway.test")


class StandIn(ThreadingHTTPServer):
    """A gateway that records what it was asked: (method, path, key, body)."""

    daemon_threads = True
    # Connections that come at once; the usual five would make the sixth wait a second.
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = Behaviour()
        self.asked: list[tuple[str, str, str | None, dict[str, Any]]] = []
        self.hosts: list[str] = []
        self.closing = threading.Event()
        self.turn = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def speak_tls(self, certificate: str) -> None:
        """Show a certificate from now on; the file holds its key too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The bodies of requests with the right key."""
        return [body for _, asked, key, body in self.asked if asked == path and key == f"Bearer {KEY}"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, body: dict[str, Any]) -> None:
        behaviour = self.server.behaviour
        key = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, key, body))
        self.server.hosts.append(self.headers["Host"])
        place = f"stream {self.path}" if body.get("stream") else self.path
        if behaviour.ingress and not self._let_through():
            self._send(404, {"error": {"message": "Not Found"}})
        elif place in behaviour.hang:
            self.server.closing.wait(5)
        elif time.monotonic() < behaviour.starting_until:
            self._send(503, {"error": {"message": "starting"}})
        elif not self.path.startswith(("/health", "/metrics")) and not self._allowed(key):
            self._send(behaviour.refusal, {"error": {"message": f"invalid key {key}"}})
        elif place in behaviour.replies:
            status, text = behaviour.replies[place]
            self._send_text(status, text, self._backend(body))
        else:
            self._answer(body)

    def _allowed(self, key: str | None) -> bool:
        return self.server.behaviour.open_to_all or key in {f"Bearer {known}" for known in self.server.behaviour.keys}

    def _let_through(self) -> bool:
        behaviour = self.server.behaviour
        return self.path in behaviour.open_routes and self.headers["Host"].partition(":")[0] in behaviour.open_hosts

    def _answer(self, body: dict[str, Any]) -> None:
        behaviour = self.server.behaviour
        backend = self._backend(body)
        if self.path == "/health/liveliness":
            self._send_text(200, '"I\'m alive!"', None)
        elif self.path == "/health/readiness":
            self._send(200, {"status": "healthy", "db": "Not connected"})
        elif self.path == "/cache/ping":
            away = behaviour.redis_away_times > 0
            behaviour.redis_away_times -= 1
            self._send(503, REDIS_AWAY) if away else self._send(200, {"status": "healthy", "cache_type": "redis"})
        elif self.path == "/metrics/":
            self._send_text(200, METRICS, None)
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": name} for name in behaviour.names]})
        elif self.path == "/v1/embeddings":
            texts = body["input"]
            found = [behaviour.vectors(text) for text in texts] if isinstance(texts, list) else [behaviour.vector]
            self._send(200, {"data": [{"embedding": vector} for vector in found]}, backend)
        elif body.get("stream"):
            self._stream(backend)
        else:
            self._complete(body, backend)

    def _complete(self, body: dict[str, Any], backend: str | None) -> None:
        behaviour = self.server.behaviour
        words = len(body["messages"][0]["content"].split())
        tokens = 7 + round(words * behaviour.tokens_a_word)
        self.server.closing.wait(tokens * behaviour.seconds_a_token)
        if tokens > behaviour.hangs_over:
            self.server.closing.wait(5)
        if tokens > behaviour.window and behaviour.refuses_long:
            self._send(400, {"error": {"message": "prompt too long"}})
            return
        if "temperature" in body and not behaviour.takes_temperature:
            self._send(400, {"error": {"message": "temperature is not supported"}})
            return
        answer: dict[str, Any] = {
            "choices": [{"message": dict(behaviour.message), "finish_reason": behaviour.finish_reason}]
        }
        if behaviour.reports_usage:
            answer["usage"] = {"prompt_tokens": min(tokens, behaviour.window)}
        if "tools" in body:
            if body["tool_choice"] not in behaviour.tool_choices:
                self._send(400, {"error": {"message": "tool_choice is not supported"}})
                return
            behaviour.words_before_call -= 1
            if behaviour.words_before_call < 0:
                answer["choices"][0]["message"]["tool_calls"] = behaviour.tool_calls
        self._send(200, answer, backend)

    def _backend(self, body: dict[str, Any]) -> str | None:
        if self.server.behaviour.turns:
            self.server.turn += 1
            return self.server.behaviour.turns[self.server.turn % len(self.server.behaviour.turns)]
        return self.server.behaviour.backends.get(body.get("model", ""))

    def _stream(self, backend: str | None) -> None:
        behaviour = self.server.behaviour
        self.send_response(200)
        if backend:
            self.send_header("X-LiteLLM-Model-Id", backend)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        deltas = ("".join(behaviour.deltas),) if behaviour.collected_times > 0 else behaviour.deltas
        behaviour.collected_times -= 1
        events = ['data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n']
        events += [f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n" for text in deltas]
        if behaviour.together:
            events = [events[0], "".join(events[1:])]
        for number, event in enumerate([*events, behaviour.stream_end]):
            if number == 1:
                self.server.closing.wait(behaviour.before_first_token)
            elif number > 1:
                self.server.closing.wait(behaviour.pause)
            parts = list(event) if behaviour.drip else [event]
            for part in filter(None, parts):
                self.server.closing.wait(behaviour.drip)
                self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: Any, backend: str | None = None) -> None:
        self._send_text(status, json.dumps(body), backend)

    def _send_text(self, status: int, text: str, backend: str | None) -> None:
        payload = text.encode()
        self.send_response(status)
        if backend:
            self.send_header("X-LiteLLM-Model-Id", backend)
        self.send_header("Content-Length", str(len(payload)))
        if self.headers["Connection"] == "close":
            # As uvicorn does; the client's socket then ends with the last byte.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)


class QuietStandIn(StandIn):
    """A client that gives up leaves a broken pipe behind; that is no error of the stand-in."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet."""


def served() -> Iterator[StandIn]:
    """Run a stand-in while a fixture is in use."""
    server = QuietStandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


class Runner:
    """Runs the module as Ansible would; every output is searched for the key."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self.capsys = capsys
        self.url = url

    def __call__(self, **options: Any) -> dict[str, Any]:
        arguments = {
            "url": self.url,
            "api_key": KEY,
            "replicas": [{"name": "litellm-1", "url": self.url, "log_hint": REPLICA_HINT}],
            "models": MODELS,
            "ready_timeout": 2,
            "redis_timeout": 2,
            "deep": "none",
            "ask_routes": False,
            "log_hint": HINT,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gateway_check.main()
        output = self.capsys.readouterr()
        assert KEY not in output.out + output.err
        assert "sk-wrong-" not in output.out + output.err
        result: dict[str, Any] = json.loads(output.out)
        assert result["changed"] is False
        assert bool(result.get("failed")) == bool(result["failures"])
        return result


def model_in(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in result["models"] if item["name"] == name)
