"""The client understands what an Ollama server says, and names what goes wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.ollama import api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[["Handler"], None]

DIGEST = "5f" * 32
LAYER = {"status": "pulling 11aa", "digest": "sha256:11aa", "total": 2000}


class Server(ThreadingHTTPServer):
    """Answers every request as ``answer`` says and remembers what was asked."""

    answer: Answer

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.requests: list[tuple[str, str, Any]] = []
        self.hold = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, json.loads(body) if body else None))
        self.server.answer(self)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def send_body(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())

    def log_message(self, *_arguments: object) -> None:
        pass


def document(value: Any, status: int = 200) -> Answer:
    return lambda handler: handler.send_body(status, json.dumps(value).encode())


def stream(*lines: dict[str, Any], after: str = "end") -> Answer:
    """Answer 200 with one JSON line a chunk; ``after``: end, cut the connection, or fall silent."""

    def answer(handler: Handler) -> None:
        handler.start_stream()
        for line in lines:
            handler.send_chunk(json.dumps(line) + "\n")
        if after == "end":
            handler.send_chunk("")
        elif after == "cut":
            handler.wfile.write(b'40\r\n{"status":"pull')
            handler.close_connection = True
        else:
            handler.server.hold.wait(5)
            handler.close_connection = True

    return answer


@pytest.fixture(name="server")
def running_server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with server:
        yield server
        server.hold.set()
        server.shutdown()
    thread.join()


@pytest.fixture(name="client")
def client_of_server(server: Server) -> api.Client:
    return api.Client(server.url + "/")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_version(server: Server, client: api.Client) -> None:
    server.answer = document({"version": "0.34.2"})
    assert client.version() == "0.34.2"
    assert server.requests == [("GET", "/api/version", None)]


def test_tags(server: Server, client: api.Client) -> None:
    server.answer = document({"models": [{"name": "qwen3.5:2b", "digest": DIGEST, "size": 12, "details": {}}]})
    assert client.tags() == [api.Model("qwen3.5:2b", DIGEST, 12)]


def test_a_server_without_models_may_send_null(server: Server, client: api.Client) -> None:
    server.answer = document({"models": None})
    assert client.tags() == []


@pytest.mark.parametrize(
    "models", [{"qwen": 1}, ["qwen"], [{"name": "qwen", "digest": DIGEST}], [{"name": 1, "digest": DIGEST, "size": 1}]]
)
def test_tags_in_another_format_are_refused(server: Server, client: api.Client, models: Any) -> None:
    server.answer = document({"models": models})
    with pytest.raises(api.OllamaError, match="answer"):
        client.tags()


def test_delete_sends_the_name_as_json(server: Server, client: api.Client) -> None:
    server.answer = lambda handler: handler.send_body(200, b"")
    client.delete("qwen3.5:2b")
    assert server.requests == [("DELETE", "/api/delete", {"model": "qwen3.5:2b"})]


def test_an_error_answer_gives_ollamas_own_text_and_status(server: Server, client: api.Client) -> None:
    server.answer = document({"error": "model 'x' not found"}, status=404)
    with pytest.raises(api.OllamaError) as caught:
        client.delete("x")
    assert (caught.value.status, caught.value.text) == (404, "model 'x' not found")


@pytest.mark.parametrize(("body", "text"), [(b"<h1>Bad</h1>", "<h1>Bad</h1>"), (b"", "Bad Gateway"), (b"[1]", "[1]")])
def test_an_error_of_something_else_is_told_as_it_is(
    server: Server, client: api.Client, body: bytes, text: str
) -> None:
    server.answer = lambda handler: handler.send_body(502, body)
    with pytest.raises(api.OllamaError) as caught:
        client.version()
    assert (caught.value.status, caught.value.text) == (502, text)


def test_a_web_page_is_no_ollama_server(server: Server, client: api.Client) -> None:
    server.answer = lambda handler: handler.send_body(200, b"<html>router</html>")
    with pytest.raises(api.OllamaError, match="not Ollama's format, it starts with '<html>router"):
        client.version()


def test_pull_returns_after_success(server: Server, client: api.Client) -> None:
    server.answer = stream(
        {"status": "pulling manifest"},
        LAYER,
        {**LAYER, "completed": 2000},
        {"status": "verifying sha256 digest"},
        {"status": "success"},
    )
    client.pull("qwen3.5:2b")
    assert server.requests == [("POST", "/api/pull", {"model": "qwen3.5:2b", "stream": True})]


def test_lines_may_be_split_and_joined_by_the_network(server: Server, client: api.Client) -> None:
    def answer(handler: Handler) -> None:
        handler.start_stream()
        for piece in (
            '{"status":"pull',
            'ing manifest"}\n\n{"stat',
            f'us":"verifying"}}\n{{{last[:5]}',
            last[5:] + "}",
        ):
            handler.send_chunk(piece)
        handler.send_chunk("")

    server.answer = answer
    last = '"status":"success"'
    client.pull("qwen3.5:2b")
    last = '"error":"disk broke"'
    with pytest.raises(api.OllamaError, match="disk broke"):
        client.pull("qwen3.5:2b")


@pytest.mark.parametrize("after", ["end", "cut", "silent"])
def test_an_error_line_after_the_200_fails_at_once(server: Server, client: api.Client, after: str) -> None:
    text = "pull model manifest: file does not exist"
    server.answer = stream({"status": "pulling manifest"}, {"error": text}, after=after)
    with pytest.raises(api.OllamaError) as caught:
        client.pull("nope")
    assert (caught.value.status, caught.value.text) == (200, text)


def test_a_stream_that_ends_without_success_failed(server: Server, client: api.Client) -> None:
    server.answer = stream({"status": "success"}, {"status": "writing manifest"})
    with pytest.raises(api.Unreachable, match="ended without success, its last status was 'writing manifest'"):
        client.pull("qwen3.5:2b")


def test_an_empty_stream_failed(server: Server, client: api.Client) -> None:
    server.answer = stream()
    with pytest.raises(api.Unreachable, match="ended without success"):
        client.pull("qwen3.5:2b")


def test_a_cut_stream_failed(server: Server, client: api.Client) -> None:
    server.answer = stream({"status": "pulling manifest"}, after="cut")
    with pytest.raises(api.Unreachable, match="cut in the middle"):
        client.pull("qwen3.5:2b")


def test_a_silent_stream_is_given_up(server: Server, client: api.Client) -> None:
    server.answer = stream({"status": "pulling manifest"}, after="silent")
    with pytest.raises(api.Unreachable, match=r"sent nothing for 0\.1 seconds"):
        client.pull("qwen3.5:2b", silence_s=0.1)


def test_a_line_that_is_not_json_failed(server: Server, client: api.Client) -> None:
    def answer(handler: Handler) -> None:
        handler.start_stream()
        handler.send_chunk("Bad Gateway\n")
        handler.send_chunk("")

    server.answer = answer
    with pytest.raises(api.OllamaError, match="starts with 'Bad Gateway'"):
        client.pull("qwen3.5:2b")


def test_a_server_that_is_down() -> None:
    client = api.Client(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(api.Unreachable) as caught:
        client.version()
    assert caught.value.reason == "Connection refused"
    assert client.url in str(caught.value)


def test_a_connection_closed_without_an_answer_is_unreachable(server: Server, client: api.Client) -> None:
    server.answer = lambda handler: setattr(handler, "close_connection", True)
    with pytest.raises(api.Unreachable, match="closed connection without response"):
        client.version()


def test_the_proxy_of_the_environment_is_not_used(
    server: Server, client: api.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.answer = document({"version": "0.34.2"})
    assert client.version() == "0.34.2"


def test_waiting_ends_when_the_server_comes_up() -> None:
    port = closed_port()
    started: list[Server] = []

    def start() -> None:
        server = Server(("127.0.0.1", port))
        server.answer = document({"version": "0.34.2"})
        started.append(server)
        server.serve_forever(0.02)

    timer = threading.Timer(0.2, start)
    timer.daemon = True
    timer.start()
    assert api.Client(f"http://127.0.0.1:{port}").wait(5) == "0.34.2"
    started[0].shutdown()
    started[0].server_close()
    timer.join()


def test_waiting_gives_up_in_time() -> None:
    before = time.monotonic()
    with pytest.raises(api.Unreachable):
        api.Client(f"http://127.0.0.1:{closed_port()}").wait(0.3)
    assert 0.3 <= time.monotonic() - before < 3


@pytest.mark.parametrize(
    "url", ["127.0.0.1:11434", "ftp://host", "http://", "http://host:port", "http://a b", "http://h?q=1", "http://h#f"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"Write it like http://127\.0\.0\.1:11434"):
        api.Client(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="without user name") as caught:
        api.Client("http://user:planted-secret@host")
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://ollama:11434", "https://[::1]:443/", "http://box.lan/ollama/"])
def test_addresses_that_are_accepted(url: str) -> None:
    assert api.Client(url).url == url.rstrip("/")


MODELFILE = """# Modelfile generated by "ollama show"
# To build a new Modelfile based on this, replace FROM with:
# FROM qwen3.5:2b

FROM /ollama/.ollama/models/blobs/sha256-22
FROM /ollama/.ollama/models/blobs/sha256-11
TEMPLATE \"\"\"
FROM nowhere
\"\"\"
PARAMETER num_ctx 4096
"""


def test_show_reads_the_files_and_every_value_of_a_parameter(server: Server, client: api.Client) -> None:
    parameters = 'stop                           "<|im_start|>"\nnum_ctx   4096\nstop                           "<a b>"'
    server.answer = document(
        {"modelfile": MODELFILE, "parameters": parameters, "template": "{{ .Prompt }}", "capabilities": ["completion"]}
    )
    assert client.show("qwen3.5:2b") == api.Shown(
        weights=("/ollama/.ollama/models/blobs/sha256-11", "/ollama/.ollama/models/blobs/sha256-22"),
        template="{{ .Prompt }}",
        system="",
        parameters={"stop": ['"<|im_start|>"', '"<a b>"'], "num_ctx": ["4096"]},
        embeds=False,
    )
    assert server.requests == [("POST", "/api/show", {"model": "qwen3.5:2b"})]


@pytest.mark.parametrize(
    ("expires_at", "forever"),
    [
        ("2318-03-02T11:12:13.123456789Z", True),
        ("2318-03-02T11:12:13.123456789+02:00", True),
        ("2046-11-21T12:00:00Z", False),
        ("0001-01-01T00:00:00Z", False),
    ],
)
def test_a_model_kept_for_ever_is_told_from_one_kept_for_a_while(
    server: Server, client: api.Client, expires_at: str, forever: bool
) -> None:
    entry = {"name": "a:1", "digest": DIGEST, "expires_at": expires_at, "size": 2, "size_vram": 1}
    server.answer = document({"models": [entry]})
    assert client.loaded() == [api.Loaded("a:1", DIGEST, forever, 2, 1)]


def test_nothing_in_memory_is_an_empty_list(server: Server, client: api.Client) -> None:
    server.answer = document({"models": None})
    assert client.loaded() == []


def test_another_format_of_what_is_in_memory_is_told(server: Server, client: api.Client) -> None:
    server.answer = document({"models": [{"name": "a:1", "digest": DIGEST}]})
    with pytest.raises(api.OllamaError, match="it lacks the field 'expires_at'"):
        client.loaded()


@pytest.mark.parametrize(
    ("capabilities", "path"),
    [(["completion", "tools"], "/api/generate"), (["embedding"], "/api/embed"), (None, "/api/generate")],
)
def test_a_model_is_loaded_for_ever_by_the_call_that_it_understands(
    server: Server, client: api.Client, capabilities: list[str] | None, path: str
) -> None:
    server.answer = document({"modelfile": "", "capabilities": capabilities})
    client.keep_loaded("a:1", silence_s=5)
    _, asked, body = server.requests[-1]
    # As a number: Ollama takes the text "-1" for no duration.
    assert (asked, body["keep_alive"], body["model"]) == (path, -1, "a:1")
    client.unload("a:1")
    assert server.requests[-1][2]["keep_alive"] == 0


def test_a_create_that_fails_after_the_200_is_an_error(server: Server, client: api.Client) -> None:
    server.answer = stream({"status": "using existing layer"}, {"error": "unknown parameter 'num_ctxx'"})
    with pytest.raises(api.OllamaError, match="unknown parameter"):
        client.create("d", {"from": "b"}, {"num_ctxx": 1}, {"system": "Be brief."}, 5)
    asked = {"model": "d", "from": "b", "parameters": {"num_ctxx": 1}, "system": "Be brief.", "stream": True}
    assert server.requests == [("POST", "/api/create", asked)]


def test_a_create_that_is_cut_is_told_as_one(server: Server, client: api.Client) -> None:
    server.answer = stream({"status": "writing manifest"})
    with pytest.raises(api.Unreachable, match="the create ended without success"):
        client.create("d", {"from": "b"}, {"num_ctx": 1}, {}, 5)
