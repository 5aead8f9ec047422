"""The provider stand-in speaks OpenAI's and Anthropic's wire formats and fails when told to, over real connections."""

from __future__ import annotations

import base64
import datetime
import http.client
import ipaddress
import json
import math
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doubles import provider

KEY = "key-that-is-right"
OPENAI_HEADERS = {"Authorization": f"Bearer {KEY}"}
ANTHROPIC_HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How warm is the sea?"}]
CHAT = {"model": "gpt-4o-mini", "messages": QUESTION}
MESSAGE = {"model": "claude-opus-4-5", "max_tokens": 100, "messages": QUESTION[1:]}


class Cloud:
    """A running stand-in and the requests one sends to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def open(self, method: str, path: str, body: object = None, headers: Any = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        self._connections.append(connection)
        connection.request(method, path, None if body is None else json.dumps(body), headers or {})
        return connection.getresponse()

    def ask(self, method: str, path: str, body: object = None, headers: Any = None) -> tuple[int, Any]:
        response = self.open(method, path, body, headers)
        return response.status, json.loads(response.read())

    def openai(self, path: str, body: object) -> tuple[int, Any]:
        return self.ask("POST", path, body, OPENAI_HEADERS)

    def anthropic(self, body: object) -> tuple[int, Any]:
        return self.ask("POST", "/v1/messages", body, ANTHROPIC_HEADERS)

    def stream(self, path: str, body: dict[str, Any], headers: Any) -> list[tuple[str, Any]]:
        response = self.open("POST", path, {**body, "stream": True}, headers)
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return events(response.read())

    def fault(self, fault: str | None, **more: object) -> Any:
        status, report = self.ask("POST", "/_double/fault", {"fault": fault, **more})
        assert status == 200
        return report

    def counters(self) -> Any:
        return self.ask("GET", "/_double/counters")[1]


def events(content: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in content.decode().strip().split("\n\n"):
        lines = block.splitlines()
        name = lines[0].removeprefix("event: ") if lines[0].startswith("event: ") else ""
        data = lines[-1].removeprefix("data: ")
        found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = provider.ProviderServer(("127.0.0.1", 0), ("another-key", KEY), 0.0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    running = Cloud(server.server_port)
    yield running
    running.close()
    server.stop()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/responses"])
def test_openai_refuses_a_missing_or_wrong_key(cloud: Cloud, path: str, headers: dict[str, str]) -> None:
    status, body = cloud.ask("POST", path, CHAT, headers)
    assert status == 401
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == ("invalid_api_key" if headers.get("Authorization") == "Bearer wrong" else None)
    assert "wrong" not in body["error"]["message"]


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"Authorization": f"Bearer {KEY}"}])
def test_anthropic_refuses_a_missing_or_wrong_key(cloud: Cloud, headers: dict[str, str]) -> None:
    status, body = cloud.ask("POST", "/v1/messages", MESSAGE, {**headers, "anthropic-version": "2023-06-01"})
    assert (status, body["type"], body["error"]["type"]) == (401, "error", "authentication_error")


def test_both_keys_are_accepted(cloud: Cloud) -> None:
    for key in ("another-key", KEY):
        assert cloud.ask("GET", "/v1/models", None, {"Authorization": f"Bearer {key}"})[0] == 200


def test_openai_chat(cloud: Cloud) -> None:
    status, body = cloud.openai("/v1/chat/completions", CHAT)
    assert (status, body["object"], body["model"]) == (200, "chat.completion", "gpt-4o-mini")
    choice = body["choices"][0]
    assert "How warm is the sea?" in choice["message"]["content"]
    assert "gpt-4o-mini" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert min(usage["prompt_tokens"], usage["completion_tokens"]) > 5
    parts = [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]
    answer = cloud.openai("/v1/chat/completions", {**CHAT, "messages": parts, "model": "any-name"})[1]
    assert (answer["model"], "in parts" in answer["choices"][0]["message"]["content"]) == ("any-name", True)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_openai_stops_at_the_token_limit(cloud: Cloud, field: str) -> None:
    body = cloud.openai("/v1/chat/completions", {**CHAT, field: 3})[1]
    assert (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]) == (3, "length")


@pytest.mark.parametrize("usage", [True, False])
def test_openai_chat_stream_reports_usage_only_when_asked(cloud: Cloud, usage: bool) -> None:
    more = {"stream_options": {"include_usage": True}} if usage else {}
    found = cloud.stream("/v1/chat/completions", {**CHAT, **more}, OPENAI_HEADERS)
    assert found.pop() == ("", "[DONE]")
    chunks = [data for _, data in found]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {("usage" in chunk) for chunk in chunks} == {usage}
    whole = cloud.openai("/v1/chat/completions", CHAT)[1]
    if usage:
        last = chunks.pop()
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]


def test_a_question_says_how_long_the_answer_takes(cloud: Cloud) -> None:
    asked = [{"role": "user", "content": "Question 7: 30 words, one every 5 ms."}]
    begin = time.monotonic()
    whole = cloud.openai("/v1/chat/completions", {"model": "m", "messages": asked})[1]
    seconds = time.monotonic() - begin
    text = whole["choices"][0]["message"]["content"]
    assert "You wrote: Question 7: 30 words, one every 5 ms." in text
    assert text.endswith(" 28 29 30")
    assert whole["usage"]["completion_tokens"] == 30
    assert 0.15 <= seconds < 2
    found = cloud.stream("/v1/chat/completions", {"model": "m", "messages": asked}, OPENAI_HEADERS)
    spoken = [data["choices"][0]["delta"].get("content", "") for _, data in found[:-1]]
    assert "".join(spoken) == text
    assert len([piece for piece in spoken if piece]) == 30


def test_openai_embeddings(cloud: Cloud) -> None:
    request = {"model": "text-embedding-3-small", "input": ["a", "b", "a"]}
    body = cloud.openai("/v1/embeddings", request)[1]
    first, second, third = (entry["embedding"] for entry in body["data"])
    assert (len(first), first == third, first == second) == (1536, True, False)
    assert math.isclose(sum(value * value for value in first), 1.0, rel_tol=1e-5)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    coded = cloud.openai("/v1/embeddings", {**request, "encoding_format": "base64"})[1]["data"][0]["embedding"]
    assert list(struct.unpack("<1536f", base64.b64decode(coded))) == first
    assert len(cloud.openai("/v1/embeddings", {**request, "dimensions": 8})[1]["data"][0]["embedding"]) == 8
    assert len(cloud.openai("/v1/embeddings", {"model": "text-embedding-3-large", "input": "a"})[1]["data"]) == 1
    assert cloud.openai("/v1/embeddings", {"model": "m", "input": []})[0] == 400


def test_openai_responses(cloud: Cloud) -> None:
    request = {"model": "gpt-4o", "input": "How warm is the sea?", "instructions": "Be brief."}
    status, body = cloud.openai("/v1/responses", request)
    assert (status, body["object"], body["status"]) == (200, "response", "completed")
    text = body["output"][0]["content"][0]["text"]
    assert "How warm is the sea?" in text
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]
    found = cloud.stream("/v1/responses", request, OPENAI_HEADERS)
    assert (found[0][0], found[-1][0]) == ("response.created", "response.completed")
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    assert "".join(data["delta"] for name, data in found if name == "response.output_text.delta") == text
    assert found[-1][1]["response"]["usage"] == body["usage"]


def test_models_are_listed_in_each_dialect(cloud: Cloud) -> None:
    openai = cloud.ask("GET", "/v1/models", None, OPENAI_HEADERS)[1]
    assert openai["object"] == "list"
    assert "gpt-4o-mini" in {entry["id"] for entry in openai["data"]}
    anthropic = cloud.ask("GET", "/v1/models", None, ANTHROPIC_HEADERS)[1]
    assert "claude-opus-4-5" in {entry["id"] for entry in anthropic["data"]}
    assert anthropic["has_more"] is False


def test_anthropic_message(cloud: Cloud) -> None:
    status, body = cloud.anthropic({**MESSAGE, "system": "Be brief."})
    assert (status, body["type"], body["role"], body["model"]) == (200, "message", "assistant", "claude-opus-4-5")
    assert "How warm is the sea?" in body["content"][0]["text"]
    assert body["stop_reason"] == "end_turn"
    assert min(body["usage"]["input_tokens"], body["usage"]["output_tokens"]) > 5
    clipped = cloud.anthropic({**MESSAGE, "max_tokens": 2})[1]
    assert (clipped["stop_reason"], clipped["usage"]["output_tokens"]) == ("max_tokens", 2)


def test_anthropic_stream_has_its_sequence_of_events(cloud: Cloud) -> None:
    found = cloud.stream("/v1/messages", MESSAGE, ANTHROPIC_HEADERS)
    names = [name for name, _ in found]
    assert names == [data["type"] for _, data in found]
    assert list(dict.fromkeys(names)) == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    whole = cloud.anthropic(MESSAGE)[1]
    text = "".join(data["delta"]["text"] for name, data in found if name == "content_block_delta")
    assert text == whole["content"][0]["text"]
    assert found[0][1]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert found[-2][1]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert found[-2][1]["delta"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        ({"model": "m", "messages": QUESTION[1:]}, ANTHROPIC_HEADERS, "max_tokens: Field required"),
        (MESSAGE, {"x-api-key": KEY}, "anthropic-version: header is required"),
        ({**MESSAGE, "messages": []}, ANTHROPIC_HEADERS, "messages: at least one message is required"),
    ],
)
def test_anthropic_says_what_is_missing(cloud: Cloud, body: Any, headers: Any, message: str) -> None:
    status, answer = cloud.ask("POST", "/v1/messages", body, headers)
    assert (status, answer["error"]) == (400, {"type": "invalid_request_error", "message": message})


def test_openai_says_what_is_missing(cloud: Cloud) -> None:
    assert cloud.openai("/v1/chat/completions", {"messages": QUESTION})[1]["error"]["param"] == "model"
    assert cloud.openai("/v1/chat/completions", {"model": "m"})[0] == 400
    assert cloud.openai("/v1/chat/completions", [1])[0] == 400
    assert cloud.openai("/v1/nothing", CHAT)[0] == 404


def test_counters_remember_no_prompt(cloud: Cloud) -> None:
    cloud.openai("/v1/chat/completions", {**CHAT, "temperature": 0.5, "user": "someone"})
    cloud.openai("/v1/embeddings", {"model": "text-embedding-3-small", "input": "the sea"})
    cloud.anthropic({**MESSAGE, "system": "the sea"})
    cloud.ask("POST", "/v1/chat/completions", CHAT)
    report = cloud.counters()
    assert report["total"] == 4
    assert report["paths"] == {"/v1/chat/completions": 2, "/v1/embeddings": 1, "/v1/messages": 1}
    assert report["models"] == {"gpt-4o-mini": 2, "text-embedding-3-small": 1, "claude-opus-4-5": 1}
    assert report["providers"] == {"openai": 3, "anthropic": 1}
    assert report["statuses"] == {"200": 3, "401": 1}
    assert report["last"]["/v1/messages"]["max_tokens"] == 100
    assert report["last"]["/v1/embeddings"]["input"] == {"items": 1, "characters": 7}
    assert report["keys"] == {"2": 3}
    text = json.dumps(report)
    assert "sea" not in text
    assert KEY not in text
    assert cloud.ask("POST", "/_double/reset", {})[1]["total"] == 0


@pytest.mark.parametrize(
    ("fault", "status", "openai", "anthropic"),
    [
        ("429", 429, ("requests", "rate_limit_exceeded"), "rate_limit_error"),
        ("500", 500, ("server_error", None), "api_error"),
        ("503", 503, ("server_error", None), "overloaded_error"),
        ("401", 401, ("invalid_request_error", "invalid_api_key"), "authentication_error"),
        ("context", 400, ("invalid_request_error", "context_length_exceeded"), "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_fault_with_a_status(
    cloud: Cloud, fault: str, status: int, openai: tuple[str, str | None], anthropic: str, stream: bool
) -> None:
    cloud.fault(fault, seconds=7)
    answer, body = cloud.openai("/v1/chat/completions", {**CHAT, "stream": stream})
    assert (answer, (body["error"]["type"], body["error"]["code"])) == (status, openai)
    response = cloud.open("POST", "/v1/messages", {**MESSAGE, "stream": stream}, ANTHROPIC_HEADERS)
    body = json.loads(response.read())
    assert (response.status, body["type"], body["error"]["type"]) == (status, "error", anthropic)
    assert response.headers["Retry-After"] == ("7" if fault == "429" else None)
    cloud.fault(None)
    assert cloud.openai("/v1/chat/completions", CHAT)[0] == 200


def test_fault_hits_one_provider_for_so_many_requests(cloud: Cloud) -> None:
    report = cloud.fault("500", provider="anthropic", count=2)
    assert report["faults"] == {"anthropic": {"fault": "500", "at": "start", "seconds": 5.0, "count": 2}}
    assert cloud.openai("/v1/chat/completions", CHAT)[0] == 200
    assert [cloud.anthropic(MESSAGE)[0] for _ in range(3)] == [500, 500, 200]
    assert cloud.counters()["faults"] == {}


def test_fault_refuse_answers_nothing(cloud: Cloud) -> None:
    cloud.fault("refuse")
    for path, headers in (("/v1/chat/completions", OPENAI_HEADERS), ("/v1/messages", ANTHROPIC_HEADERS)):
        with pytest.raises(ConnectionError):
            cloud.ask("POST", path, CHAT, headers)
    assert cloud.counters()["total"] == 2
    assert cloud.counters()["statuses"] == {}


@pytest.mark.parametrize("place", ["start", "middle"])
def test_fault_hang_lasts_until_it_is_cleared(cloud: Cloud, place: str) -> None:
    cloud.fault("hang", at=place)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            response = cloud.open("POST", "/v1/chat/completions", {**CHAT, "stream": True}, OPENAI_HEADERS)
            outcome.append(response.readline())
            response.read()
        except (ConnectionError, http.client.IncompleteRead) as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert len(outcome) == (1 if place == "middle" else 0)
    cloud.fault("null")
    waiting.join(2)
    assert isinstance(outcome[-1], Exception)
    assert cloud.openai("/v1/chat/completions", CHAT)[0] == 200


def test_fault_slow_answers_late(cloud: Cloud) -> None:
    cloud.fault("slow", seconds=0.2, count=1)
    start = time.monotonic()
    assert cloud.openai("/v1/chat/completions", CHAT)[0] == 200
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "request_body", "headers", "end"),
    [
        ("/v1/chat/completions", CHAT, OPENAI_HEADERS, b"[DONE]"),
        ("/v1/messages", MESSAGE, ANTHROPIC_HEADERS, b"message_stop"),
    ],
)
def test_fault_cut_ends_in_the_middle(
    cloud: Cloud, path: str, request_body: dict[str, Any], headers: Any, end: bytes, stream: bool
) -> None:
    cloud.fault("cut")
    response = cloud.open("POST", path, {**request_body, "stream": stream}, headers)
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as failure:
        response.read()
    assert failure.value.partial
    assert end not in failure.value.partial


@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_fault_in_the_middle_of_a_stream_is_an_event(cloud: Cloud, fault: str) -> None:
    cloud.fault(fault, at="middle")
    found = cloud.stream("/v1/chat/completions", CHAT, OPENAI_HEADERS)
    assert "error" in found[-1][1]
    assert "choices" in found[0][1]
    name, data = cloud.stream("/v1/messages", MESSAGE, ANTHROPIC_HEADERS)[-1]
    assert (name, data["type"]) == ("error", "error")


def test_fault_refuse_in_the_middle_resets_the_stream(cloud: Cloud) -> None:
    cloud.fault("refuse", at="middle")
    response = cloud.open("POST", "/v1/chat/completions", {**CHAT, "stream": True}, OPENAI_HEADERS)
    assert response.status == 200
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        response.read()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"fault": "fire"}, "fault is 'fire': write null or one of refuse"),
        ({"fault": "500", "provider": "acme"}, "provider is 'acme': write openai, anthropic or *"),
        ({"fault": "context", "at": "middle"}, "at is 'middle': write start"),
        ({"fault": "429", "seconds": "soon"}, "seconds is 'soon'"),
        ({"fault": "429", "count": 0}, "count is 0"),
    ],
)
def test_control_route_says_what_to_write(cloud: Cloud, body: object, message: str) -> None:
    status, answer = cloud.ask("POST", "/_double/fault", body)
    assert (status, answer["error"].startswith(message)) == (400, True)
    assert cloud.counters()["faults"] == {}


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry.ollama.ai")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return files


def test_it_answers_for_the_ollama_registry_over_tls(certificate: tuple[Path, Path]) -> None:
    server = provider.registry_server(("127.0.0.1", 0), *certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        port = server.server_address[1]
        with socket.create_connection(("127.0.0.1", port)):
            context = ssl.create_default_context(cafile=str(certificate[0]))
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            connection.request("GET", "/v2/library/qwen3.5/manifests/2b")
            response = connection.getresponse()
            manifest = response.read()
            expected = provider.ollama_double().registry_answer("/v2/library/qwen3.5/manifests/2b")[2]
            assert (response.status, manifest) == (200, expected)
            assert sum(layer["size"] for layer in json.loads(manifest)["layers"]) > 2_700_000_000
            connection.request("GET", "/v2/library/nope/manifests/latest")
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
            connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(arguments: list[str], keys: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(Path(provider.__file__)), *arguments]
    environment = {"PATH": os.environ["PATH"], "PROVIDER_KEYS": keys}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)


def test_command_line_says_what_is_missing() -> None:
    result = run([], " , ")
    assert (result.returncode, "PROVIDER_KEYS is empty" in result.stderr) == (2, True)
    result = run(["--ollama-registry-port", "443"], KEY)
    assert (result.returncode, "give all three or none" in result.stderr) == (2, True)


def test_command_serves_both_ports_and_stops_on_sigterm(certificate: tuple[Path, Path]) -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        port, registry_port = first.getsockname()[1], second.getsockname()[1]
    registry = [
        "--ollama-registry-port",
        str(registry_port),
        "--cert",
        str(certificate[0]),
        "--key",
        str(certificate[1]),
    ]
    command = [
        sys.executable,
        "-S",
        str(Path(provider.__file__)),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *registry,
    ]
    environment = {"PATH": os.environ["PATH"], "PROVIDER_KEYS": f"x,{KEY}"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "listens on" in server.stderr.readline()
        cloud = Cloud(port)
        assert cloud.openai("/v1/chat/completions", CHAT)[0] == 200
        cloud.close()
        context = ssl.create_default_context(cafile=str(certificate[0]))
        connection = http.client.HTTPSConnection("127.0.0.1", registry_port, timeout=5, context=context)
        connection.request("HEAD", "/v2/library/smollm2/manifests/135m")
        assert connection.getresponse().status == 200
        connection.close()
        server.terminate()
        assert server.wait(5) == 0
