#!/usr/bin/env python3
"""Stand-in for the hosted providers during a drill: OpenAI's and Anthropic's dialects, with faults on command.

Each provider has a TCP port of its own, so that one that refuses really refuses connections. The control port takes
`PUT /faults` with `{"provider": "fault"}`, which replaces all faults, and answers `GET /hits` with the requests by
provider. It needs Python's standard library alone, and keeps nothing of what it is asked.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

REFUSE = "refuse"
HANG = "hang"
CUT = "cut"
STATUS_FAULTS = {"500": 500, "429": 429}
FAULTS = (REFUSE, HANG, CUT, *STATUS_FAULTS)
WORDS = ("All", " is", " well", " here", ".")
INPUT_TOKENS = 10
# A request that hangs ends when the fault does, and at the latest after this time in seconds.
LONGEST_HANG = 300.0

Json = dict[str, Any]


class Server(ThreadingHTTPServer):
    """A server whose connections can all be ended."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], owner: Any) -> None:
        """Listen, and remember who is served."""
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and note it."""
        connection, client = super().get_request()
        with self._open_lock:
            self._open.add(connection)
        return connection, client

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: clients go away in a drill."""

    def end_all(self) -> None:
        """Stop listening and reset every connection."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                reset(connection)


def reset(connection: socket.socket) -> None:
    """End a connection at once, as a crashed process does."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is over already.
        return


class Provider:
    """One stand-in: its port, its fault and how often it was asked."""

    def __init__(self, name: str, host: str, port: int) -> None:
        """Listen on the port; 0 takes a free one."""
        self.name = name
        self._host = host
        self._server: Server | None = None
        self._fault = ""
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._hits = 0
        self.port = port
        self._listen()

    def _listen(self) -> None:
        self._server = Server((self._host, self.port), ProviderHandler, self)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def hits(self) -> int:
        """How many requests reached it."""
        return self._hits

    def hit(self) -> tuple[str, threading.Event]:
        """Count a request; return the fault it meets and what is set when that fault ends."""
        with self._lock:
            self._hits += 1
            return self._fault, self._changed

    def set_fault(self, fault: str) -> None:
        """Begin a fault, or end it with an empty one."""
        with self._lock:
            if fault == self._fault:
                return
            self._fault = fault
            self._changed.set()
            self._changed = threading.Event()
        if fault == REFUSE:
            self.close()
        elif self._server is None:
            self._listen()

    def close(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.end_all()
            self._server = None


class ProviderHandler(BaseHTTPRequestHandler):
    """Answers one connection of LiteLLM."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet, or the body waits for the peer's delayed acknowledgement.
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        """Answer a question, or fail as told."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        fault, changed = self.server.owner.hit()
        if fault == HANG:
            changed.wait(LONGEST_HANG)
            self._break_off()
        elif fault in STATUS_FAULTS:
            self._send(STATUS_FAULTS[fault], error_body(STATUS_FAULTS[fault], self._is_anthropic()))
        else:
            self._answer(body, cut=fault == CUT)

    def _is_anthropic(self) -> bool:
        return self.path.split("?")[0].endswith("/messages")

    def _answer(self, body: Json, *, cut: bool) -> None:
        path = self.path.split("?")[0]
        model = str(body.get("model"))
        if path.endswith("/embeddings"):
            self._send(200, embeddings(model, body.get("input")), cut=cut)
        elif not (path.endswith("/chat/completions") or self._is_anthropic()):
            self._send(404, {"error": {"message": f"The stand-in knows no {path}.", "type": "invalid_request_error"}})
        elif body.get("stream"):
            self._stream(anthropic_events(model) if self._is_anthropic() else openai_events(model), cut=cut)
        else:
            self._send(200, anthropic_message(model) if self._is_anthropic() else openai_completion(model), cut=cut)

    def _send(self, status: int, body: Json, *, cut: bool = False) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._break_off()

    def _stream(self, events: list[bytes], *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events[: len(events) // 2] if cut else events:
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
        if cut:
            self._break_off()
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _break_off(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        # Without lingering the last bytes would be thrown away with the connection.
        self.connection.shutdown(socket.SHUT_RDWR)


def error_body(status: int, anthropic: bool) -> Json:
    """Return the error object of a vendor's API."""
    if status == 429:
        kind, message = ("rate_limit_error" if anthropic else "requests"), "Rate limit reached in a drill."
    else:
        kind, message = ("api_error" if anthropic else "server_error"), "The server failed in a drill."
    if anthropic:
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def openai_completion(model: str) -> Json:
    """Return a whole answer as OpenAI gives it."""
    message = {"role": "assistant", "content": "".join(WORDS)}
    return {
        "id": "chatcmpl-drill",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": openai_usage(),
    }


def openai_usage() -> Json:
    """Return what an answer is billed by."""
    output = len(WORDS)
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": output, "total_tokens": INPUT_TOKENS + output}


def openai_events(model: str) -> list[bytes]:
    """Return the events of a streamed answer as OpenAI sends them."""
    head = {"id": "chatcmpl-drill", "object": "chat.completion.chunk", "created": 0, "model": model}
    deltas: list[Json] = [{"role": "assistant", "content": WORDS[0]}, *({"content": word} for word in WORDS[1:])]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**head, "choices": [], "usage": openai_usage()})
    return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]


def anthropic_message(model: str) -> Json:
    """Return a whole answer as Anthropic gives it."""
    return {
        "id": "msg_drill",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "".join(WORDS)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": len(WORDS)},
    }


def anthropic_events(model: str) -> list[bytes]:
    """Return the events of a streamed answer as Anthropic sends them."""
    start = {**anthropic_message(model), "content": [], "stop_reason": None}
    events: list[Json] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": len(WORDS)},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def embeddings(model: str, given: Any) -> Json:
    """Return a short vector for each text."""
    texts = given if isinstance(given, list) else [given]
    data = [{"object": "embedding", "index": index, "embedding": [0.6, 0.8]} for index in range(len(texts))]
    usage = {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS}
    return {"object": "list", "data": data, "model": model, "usage": usage}


class Control:
    """The control port: sets faults and shows what came in."""

    def __init__(self, providers: dict[str, Provider], host: str, port: int) -> None:
        """Listen on the port; 0 takes a free one."""
        self.providers = providers
        self._lock = threading.Lock()
        self._server = Server((host, port), ControlHandler, self)
        self.port = self._server.server_port

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever(0.05)

    def close(self) -> None:
        """Stop everything."""
        self._server.end_all()
        for provider in self.providers.values():
            provider.close()

    def set_faults(self, wanted: Any) -> None:
        """Replace all faults; raise `ValueError` that says what to write instead."""
        if not isinstance(wanted, dict):
            raise ValueError("write an object of provider and fault")
        for name, fault in wanted.items():
            if name not in self.providers:
                raise ValueError(f"there is no provider {name!r}: write one of {', '.join(self.providers)}")
            if fault not in FAULTS:
                raise ValueError(f"fault is {fault!r}: write one of {', '.join(FAULTS)}")
        with self._lock:
            for name, provider in self.providers.items():
                provider.set_fault(wanted.get(name, ""))

    def hits(self) -> Counter[str]:
        """Requests by provider since the start."""
        return Counter({name: provider.hits for name, provider in self.providers.items()})


class ControlHandler(BaseHTTPRequestHandler):
    """Answers whoever runs the drill."""

    server: Server
    wbufsize = -1
    known: ClassVar[tuple[str, ...]] = ("/ready", "/hits")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Say that it is there, or what came in."""
        if self.path not in self.known:
            self._send(404, {"error": f"there is no {self.path}: ask {' or '.join(self.known)}"})
        else:
            self._send(200, dict(self.server.owner.hits()) if self.path == "/hits" else {})

    def do_PUT(self) -> None:
        """Take the faults."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/faults":
            self._send(404, {"error": f"there is no {self.path}: put /faults"})
            return
        try:
            self.server.owner.set_faults(json.loads(content))
        except ValueError as wrong:
            self._send(400, {"error": str(wrong)})
        else:
            self._send(200, {})

    def _send(self, status: int, body: Json) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM: `--control PORT NAME=PORT...`; return the exit code."""
    if len(arguments) < 3 or arguments[0] != "--control":
        print("usage: backend.py --control PORT NAME=PORT...", file=sys.stderr)
        return 2
    ports = dict(argument.split("=", 1) for argument in arguments[2:])
    # Every address of the container: it is on the gateway's network alone.
    host = "0.0.0.0"  # noqa: S104
    control = Control({name: Provider(name, host, int(port)) for name, port in ports.items()}, host, int(arguments[1]))
    signal.signal(signal.SIGTERM, lambda _signal, _frame: threading.Thread(target=control.close).start())
    control.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
