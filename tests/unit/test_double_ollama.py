"""The Ollama stand-in keeps to Ollama's wire format, over real connections."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import ollama

CHAT = "smollm2:135m"
THINKER = "qwen3.5:2b"
EMBED = "nomic-embed-text"
SCRIPT = Path(ollama.__file__)


@contextmanager
def serving(settings: ollama.Settings) -> Iterator[Box]:
    server = ollama.OllamaServer(("127.0.0.1", 0), settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    box = Box(server.server_port, server.machine)
    try:
        yield box
    finally:
        box.close()
        server.stop()
        thread.join()
        server.server_close()


class Box:
    """A running stand-in and the requests one sends to it."""

    def __init__(self, port: int, machine: ollama.Machine) -> None:
        self.port = port
        self.machine = machine
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def open(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        self._connections.append(connection)
        connection.request(method, path, None if body is None else json.dumps(body))
        return connection.getresponse()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        response = self.open(method, path, body)
        content = response.read()
        return response.status, json.loads(content) if content[:1] in (b"{", b"[") else content.decode()

    def post(self, path: str, **body: object) -> tuple[int, Any]:
        return self.ask("POST", path, body)

    def lines(self, path: str, **body: object) -> list[Any]:
        response = self.open("POST", path, body)
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.read().splitlines()]

    def events(self, path: str, **body: object) -> list[Any]:
        response = self.open("POST", path, {"stream": True, **body})
        assert response.headers["Content-Type"] == "text/event-stream"
        events = response.read().decode().strip().split("\n\n")
        assert events[-1] == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]

    def pull(self, *names: str) -> None:
        for name in names:
            assert self.post("/api/pull", model=name, stream=False) == (200, {"status": "success"})

    def tags(self) -> dict[str, Any]:
        return {model["name"]: model for model in self.ask("GET", "/api/tags")[1]["models"]}

    def fault(self, fault: str | None, **more: object) -> None:
        assert self.post("/_double", fault=fault, **more)[0] == 200


@pytest.fixture
def settings(tmp_path: Path) -> ollama.Settings:
    return ollama.Settings(home=tmp_path, models=tmp_path / "models", pull=0.0, chunk=0.0, slow_pull=0.6)


@pytest.fixture
def box(settings: ollama.Settings) -> Iterator[Box]:
    with serving(settings) as running:
        yield running


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def within(seconds: float, condition: Any) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_server_says_that_it_runs_and_which_version(box: Box) -> None:
    assert box.ask("GET", "/") == (200, "Ollama is running")
    assert box.ask("HEAD", "/") == (200, "")
    assert box.ask("GET", "/api/version") == (200, {"version": "0.34.2"})
    assert box.ask("GET", "/api/status") == (200, {"cloud": {"disabled": False, "source": "none"}})
    assert box.ask("GET", "/api/nothing")[0] == 404
    assert box.ask("GET", "/api/chat")[0] == 405


def test_cloud_is_off_when_the_environment_says_so(settings: ollama.Settings) -> None:
    with serving(replace(settings, cloud_disabled=True)) as box:
        assert box.ask("GET", "/api/status")[1] == {"cloud": {"disabled": True, "source": "env"}}


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("nomic-embed-text", "nomic-embed-text:latest", "registry.ollama.ai/library/nomic-embed-text:latest"),
        ("library/qwen3.5:2b", "qwen3.5:2b", "registry.ollama.ai/library/qwen3.5:2b"),
        ("registry.ollama.ai/test/slow", "test/slow:latest", "registry.ollama.ai/test/slow:latest"),
        ("box:5000/me/m:q4", "box:5000/me/m:q4", "box:5000/me/m:q4"),
    ],
)
def test_names_get_ollamas_defaults(text: str, short: str, full: str) -> None:
    name = ollama.ModelName.parse(text)
    assert (name.short, name.full) == (short, full)


@pytest.mark.parametrize("text", ["", ":latest", "a b", "a/b/c/d", "../../etc/passwd:x", "m:"])
def test_a_name_that_is_none_is_refused(box: Box, text: str) -> None:
    assert box.post("/api/pull", model=text) == (400, {"error": "invalid model name"})


def test_pull_streams_in_ollamas_order(box: Box) -> None:
    lines = box.lines("/api/pull", model=CHAT)
    assert lines[0] == {"status": "pulling manifest"}
    assert [line["status"] for line in lines[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
    downloads = [line for line in lines if "digest" in line]
    assert {line["status"] for line in downloads} == {f"pulling {line['digest'][7:19]}" for line in downloads}
    assert "completed" not in downloads[0]
    assert downloads[0]["total"] == 271_000_000
    weights = [line for line in downloads if line["digest"] == downloads[0]["digest"]]
    assert weights[-1]["completed"] == weights[-1]["total"]


def test_pulling_again_finds_every_layer_there(box: Box) -> None:
    box.pull(CHAT)
    before = box.tags()
    downloads = [line for line in box.lines("/api/pull", model=CHAT) if "digest" in line]
    assert len(downloads) == len({line["digest"] for line in downloads})
    assert all(line["completed"] == line["total"] for line in downloads)
    assert box.tags()[CHAT]["digest"] == before[CHAT]["digest"]


def test_slow_pull_reports_many_times_and_takes_its_time(box: Box) -> None:
    start = time.monotonic()
    lines = box.lines("/api/pull", model="test/slow")
    assert time.monotonic() - start >= 0.6
    progress = [line["completed"] for line in lines if line.get("total") == 500_000_000 and "completed" in line]
    assert len(progress) >= 10
    assert progress == sorted(progress)


@pytest.mark.parametrize("name", ["no-such-model", "smollm2:nope", "elsewhere.example/library/smollm2:135m"])
def test_unknown_model_fails_after_the_200(box: Box, name: str) -> None:
    failure = {"error": "pull model manifest: file does not exist"}
    assert box.lines("/api/pull", model=name) == [{"status": "pulling manifest"}, failure]
    assert box.post("/api/pull", model=name, stream=False) == (500, failure)
    assert box.tags() == {}


def test_broken_pull_fails_in_the_middle_each_time(box: Box) -> None:
    for _ in range(2):
        lines = box.lines("/api/pull", model="test/broken")
        assert lines[-1] == {"error": "max retries exceeded: unexpected EOF"}
        assert "digest" in lines[-2]
    assert box.tags() == {}
    assert box.ask("GET", "/_double")[1]["pulls"] == {"started": 2, "finished": 0, "failed": 2, "cancelled": 0}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_and_the_next_pull_resumes(settings: ollama.Settings, stream: bool) -> None:
    with serving(replace(settings, slow_pull=5.0)) as box:
        body = json.dumps({"model": "test/slow", "stream": stream}).encode()
        with socket.create_connection(("127.0.0.1", box.port)) as client:
            head = f"POST /api/pull HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            weights = ollama.published(ollama.ModelName.parse("test/slow"))
            assert weights is not None
            assert within(2, lambda: box.machine.store.downloaded(weights.layers[0].digest) > 0)
        assert within(2, lambda: box.machine.report()["pulls"]["cancelled"] == 1)
        reached = box.machine.store.downloaded(weights.layers[0].digest)
        assert box.tags() == {}
    with serving(replace(settings, slow_pull=0.1)) as box:
        first = next(line for line in box.lines("/api/pull", model="test/slow") if "digest" in line)
        assert 0 < first["completed"] == reached < first["total"]
        assert "test/slow:latest" in box.tags()


def test_how_far_a_pull_is_can_be_read_while_another_one_writes_it(tmp_path: Path) -> None:
    store = ollama.ModelStore(tmp_path)
    digest = f"sha256:{'1' * 64}"
    done = threading.Event()

    def write() -> None:
        for completed in range(1, 2000):
            store.note_downloaded(digest, completed)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    read = [store.downloaded(digest)]
    while not done.is_set():
        read.append(store.downloaded(digest))
    writer.join()
    assert read == sorted(read)


def test_stopping_in_the_middle_of_a_pull_leaves_no_model(settings: ollama.Settings) -> None:
    with serving(replace(settings, slow_pull=60.0)) as box:
        response = box.open("POST", "/api/pull", {"model": "test/slow"})
        for _ in range(4):
            response.readline()
        box.machine.stopping.set()
        assert json.loads(response.read().splitlines()[-1]) == {"error": "context canceled"}
    with serving(settings) as box:
        assert box.tags() == {}


def test_tags_describe_models_and_survive_a_restart(settings: ollama.Settings) -> None:
    with serving(settings) as box:
        box.pull(THINKER, "library/NOMIC-embed-text")
        before = box.tags()
    with serving(settings) as box:
        after = box.tags()
    assert after == before
    model = after[THINKER]
    assert model["model"] == THINKER
    assert 2_700_000_000 < model["size"] < 2_700_010_000
    assert model["details"]["format"] == "gguf"
    assert model["capabilities"] == ["completion", "tools", "thinking"]
    assert {name.lower() for name in after} == {THINKER, "nomic-embed-text:latest"}
    on_disk = sum(path.stat().st_size for path in settings.models.rglob("*") if path.is_file())
    assert on_disk < 10_000


def test_digest_is_the_sha256_of_the_registrys_manifest(box: Box) -> None:
    box.pull(CHAT)
    response = box.open("GET", "/v2/library/smollm2/manifests/135m")
    manifest = response.read()
    assert response.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert box.tags()[CHAT]["digest"] == hashlib.sha256(manifest).hexdigest()
    parsed = json.loads(manifest)
    assert sum(layer["size"] for layer in [*parsed["layers"], parsed["config"]]) == box.tags()[CHAT]["size"]
    for layer in [*parsed["layers"], parsed["config"]]:
        assert box.ask("HEAD", f"/api/blobs/{layer['digest']}")[0] == 200


@pytest.mark.parametrize("path", ["/v2/library/nope/manifests/latest", "/v2/library/smollm2/manifests/1t"])
def test_registry_does_not_know_every_manifest(box: Box, path: str) -> None:
    status, body = box.ask("GET", path)
    assert (status, body["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


def test_registry_offers_a_model_that_fits_on_no_disk() -> None:
    status, _, manifest = ollama.registry_answer("/v2/test/huge/manifests/latest")
    assert status == 200
    assert json.loads(manifest)["layers"][0]["size"] == 900 * 10**12
    assert ollama.registry_answer("/v2/")[0] == 404


def test_show_tells_what_a_model_is(box: Box) -> None:
    box.pull(EMBED)
    status, shown = box.post("/api/show", model=EMBED)
    assert status == 200
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["nomic-bert.embedding_length"] == 768
    assert "FROM " in shown["modelfile"]
    assert box.post("/api/show", model="nope") == (404, {"error": "model 'nope' not found"})
    assert box.post("/api/show") == (400, {"error": "model is required"})


def test_create_bakes_parameters_in_and_is_repeatable(box: Box) -> None:
    request = {"model": "mine", "from": CHAT, "parameters": {"num_ctx": 2048}, "system": "Be kind."}
    lines = box.lines("/api/create", **request)
    assert [line["status"] for line in lines if line["status"] in {"writing manifest", "success"}][-2:] == [
        "writing manifest",
        "success",
    ]
    first = box.tags()
    assert set(first) == {CHAT, "mine:latest"}
    shown = box.post("/api/show", model="mine")[1]
    assert dict(line.split() for line in shown["parameters"].splitlines())["num_ctx"] == "2048"
    assert shown["system"] == "Be kind."
    assert box.post("/api/create", **request, stream=False) == (200, {"status": "success"})
    assert box.tags()["mine:latest"]["digest"] == first["mine:latest"]["digest"]
    box.lines("/api/create", **{**request, "parameters": {"num_ctx": 4096}})
    assert box.tags()["mine:latest"]["digest"] != first["mine:latest"]["digest"]
    box.post("/api/chat", model="mine", messages=user("x"), stream=False)
    assert box.ask("GET", "/api/ps")[1]["models"][0]["context_length"] == 4096


def test_create_says_what_is_missing(box: Box) -> None:
    assert box.post("/api/create", model="mine") == (400, {"error": "neither 'from' or 'files' was specified"})
    assert box.lines("/api/create", **{"model": "mine", "from": "nope"})[-1] == {
        "error": "pull model manifest: file does not exist"
    }


def test_pull_over_a_created_model_removes_what_is_unused(box: Box) -> None:
    box.lines("/api/create", **{"model": CHAT, "from": EMBED, "system": "x"})
    lines = box.lines("/api/pull", model=CHAT)
    assert [line["status"] for line in lines[-2:]] == ["removing unused layers", "success"]


def test_copy_and_delete(box: Box) -> None:
    box.pull(CHAT)
    assert box.post("/api/copy", source=CHAT, destination="me/copy") == (200, "")
    assert box.tags()["me/copy:latest"]["digest"] == box.tags()[CHAT]["digest"]
    assert box.ask("DELETE", "/api/delete", {"model": CHAT.upper()}) == (200, "")
    assert box.post("/api/chat", model="me/copy", messages=user("x"), stream=False)[0] == 200
    assert box.ask("DELETE", "/api/delete", {"model": CHAT}) == (404, {"error": f"model '{CHAT}' not found"})
    assert box.ask("DELETE", "/api/delete", {"model": "me/copy"})[0] == 200
    assert box.tags() == {}
    assert box.post("/api/copy", source="nope", destination="x") == (404, {"error": 'model "nope" not found'})


def test_blob_upload_checks_the_digest(box: Box) -> None:
    content = json.dumps("weights").encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert box.ask("HEAD", f"/api/blobs/{digest}")[0] == 404
    assert box.ask("POST", f"/api/blobs/sha256:{'0' * 64}", "weights")[0] == 400
    assert box.ask("POST", f"/api/blobs/{digest}", "weights")[0] == 201
    assert box.ask("POST", f"/api/blobs/{digest}", "weights")[0] == 200
    assert box.ask("HEAD", "/api/blobs/sha256:../../../etc/passwd")[0] == 400


def test_chat_streams_pieces_and_ends_with_counts(box: Box) -> None:
    box.pull(CHAT)
    lines = box.lines("/api/chat", model=CHAT, messages=user("How warm is the sea?"))
    text = "".join(line["message"]["content"] for line in lines)
    assert len(lines) > 5
    assert CHAT in text
    assert "How warm is the sea?" in text
    assert not any(line["done"] for line in lines[:-1])
    final = lines[-1]
    assert (final["done"], final["done_reason"], final["eval_count"]) == (True, "stop", len(lines) - 1)
    assert final["prompt_eval_count"] > 5
    assert final["total_duration"] > 0
    whole = box.post("/api/chat", model=CHAT, messages=user("How warm is the sea?"), stream=False)[1]
    assert whole["message"]["content"] == text
    assert whole["eval_count"] == final["eval_count"]


def test_generate_streams_and_can_be_cut_short(box: Box) -> None:
    box.pull(CHAT)
    lines = box.lines("/api/generate", model=CHAT, prompt="Say hello")
    assert "Say hello" in "".join(line["response"] for line in lines)
    short = box.post("/api/generate", model=CHAT, prompt="Say hello", stream=False, options={"num_predict": 3})[1]
    assert (short["eval_count"], short["done_reason"]) == (3, "length")


def test_thinking_models_think_unless_told_not_to(box: Box) -> None:
    box.pull(THINKER, CHAT)
    thinking = box.post("/api/chat", model=THINKER, messages=user("x"), stream=False)[1]["message"]
    assert thinking["thinking"]
    assert thinking["content"].startswith("This is")
    quiet = box.post("/api/chat", model=THINKER, messages=user("x"), stream=False, think=False)[1]["message"]
    assert "thinking" not in quiet
    assert any("thinking" in line["message"] for line in box.lines("/api/chat", model=THINKER, messages=user("x")))
    refusal = box.post("/api/chat", model=CHAT, messages=user("x"), think=True)
    assert refusal == (400, {"error": f'"{CHAT}" does not support thinking'})


@pytest.mark.parametrize(
    ("path", "more", "message"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}]}, "model 'nope' not found"),
        ("/api/generate", {"prompt": "x"}, "model 'nope' not found"),
        ("/api/embed", {"input": "x"}, 'model "nope" not found, try pulling it first'),
        ("/api/embeddings", {"prompt": "x"}, 'model "nope" not found, try pulling it first'),
    ],
)
def test_a_model_that_was_not_pulled(box: Box, path: str, more: dict[str, object], message: str) -> None:
    assert box.post(path, model="nope", **more) == (404, {"error": message})
    assert box.post(path, **more) == (400, {"error": "model is required"})


def test_openai_errors_have_openais_shape(box: Box) -> None:
    status, body = box.post("/v1/chat/completions", model="nope", messages=user("x"))
    assert status == 404
    expected = {"message": "model 'nope' not found", "type": "not_found_error", "param": None, "code": None}
    assert body == {"error": expected}
    status, body = box.post("/v1/chat/completions", model="nope", messages=[])
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    status, body = box.post("/v1/embeddings", model="nope", input="x")
    assert (status, body["error"]["message"]) == (404, 'model "nope" not found, try pulling it first')


def test_models_do_only_what_they_can(box: Box) -> None:
    box.pull(EMBED, CHAT, "neural-chat")
    chat = box.post("/api/chat", model=EMBED, messages=user("x"))
    assert chat == (400, {"error": '"nomic-embed-text" does not support chat'})
    assert box.post("/api/generate", model=EMBED, prompt="x")[1]["error"].endswith("does not support generate")
    status, body = box.post("/v1/chat/completions", model=EMBED, messages=user("x"))
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    tools = [{"type": "function", "function": {"name": "f"}}]
    refusal = box.post("/api/chat", model="neural-chat", messages=user("x"), tools=tools)
    assert refusal[1]["error"] == "registry.ollama.ai/library/neural-chat:latest does not support tools"
    assert len(box.post("/api/embed", model=CHAT, input="x")[1]["embeddings"][0]) == 576


def test_embeddings_are_unit_vectors_of_the_models_width(box: Box) -> None:
    box.pull(EMBED)
    body = box.post("/api/embed", model=EMBED, input=["a", "b", "a"])[1]
    first, second, third = body["embeddings"]
    assert (len(first), first == third, first == second) == (768, True, False)
    assert math.isclose(sum(value * value for value in first), 1.0, rel_tol=1e-5)
    assert body["prompt_eval_count"] > 0
    cut = box.post("/api/embed", model=EMBED, input="a", dimensions=64)[1]["embeddings"][0]
    assert len(cut) == 64
    assert math.isclose(sum(value * value for value in cut), 1.0, rel_tol=1e-5)
    assert box.post("/api/embeddings", model=EMBED, prompt="a")[1] == {"embedding": first}
    assert box.post("/api/embed", model=EMBED, input=[1]) == (400, {"error": "invalid input type"})


def test_openai_embeddings_in_both_encodings(box: Box) -> None:
    box.pull(EMBED)
    plain = box.post("/v1/embeddings", model=EMBED, input="a")[1]
    vector = plain["data"][0]["embedding"]
    assert (plain["object"], len(vector), plain["usage"]["prompt_tokens"]) == ("list", 768, 3)
    coded = box.post("/v1/embeddings", model=EMBED, input="a", encoding_format="base64")[1]["data"][0]["embedding"]
    assert list(struct.unpack("<768f", base64.b64decode(coded))) == vector
    assert box.post("/v1/embeddings", model=EMBED, input="a", encoding_format="hex")[0] == 400
    assert box.post("/v1/embeddings", model=EMBED, input=[])[0] == 400


def test_openai_chat_without_a_stream(box: Box) -> None:
    box.pull(CHAT)
    status, body = box.post("/v1/chat/completions", model=CHAT, messages=user("Hello there"))
    assert (status, body["object"], body["model"]) == (200, "chat.completion", CHAT)
    choice = body["choices"][0]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    assert "Hello there" in choice["message"]["content"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 10
    clipped = box.post("/v1/chat/completions", model=CHAT, messages=user("Hello there"), max_tokens=2)[1]
    assert (clipped["usage"]["completion_tokens"], clipped["choices"][0]["finish_reason"]) == (2, "length")


@pytest.mark.parametrize("usage", [True, False])
def test_openai_chat_stream(box: Box, usage: bool) -> None:
    box.pull(THINKER)
    more = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = box.events("/v1/chat/completions", model=THINKER, messages=user("Hello there"), **more)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert ("usage" in chunks[-1]) is usage
    if usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == len(chunks) - 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert "Hello there" in text
    assert "reasoning" in chunks[0]["choices"][0]["delta"]


def test_openai_completions(box: Box) -> None:
    box.pull(CHAT)
    body = box.post("/v1/completions", model=CHAT, prompt="Once upon")[1]
    assert (body["object"], body["choices"][0]["finish_reason"]) == ("text_completion", "stop")
    stream = {"stream_options": {"include_usage": True}}
    chunks = box.events("/v1/completions", model=CHAT, prompt="Once upon", **stream)
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == body["choices"][0]["text"]
    assert chunks[-1]["usage"] == body["usage"]
    assert chunks[0]["usage"]["total_tokens"] == 0


def test_openai_models(box: Box) -> None:
    assert box.ask("GET", "/v1/models") == (200, {"object": "list", "data": None})
    box.pull(CHAT)
    entry = box.ask("GET", "/v1/models")[1]["data"][0]
    assert (entry["id"], entry["object"], entry["owned_by"]) == (CHAT, "model", "library")
    assert box.ask("GET", f"/v1/models/{CHAT}")[1]["id"] == CHAT
    assert box.ask("GET", "/v1/models/nope")[0] == 404


def test_models_stay_loaded_as_keep_alive_says(box: Box) -> None:
    box.pull(CHAT, EMBED)
    assert box.ask("GET", "/api/ps") == (200, {"models": []})
    assert box.post("/api/generate", model=CHAT, keep_alive=-1)[1]["done_reason"] == "load"
    assert box.post("/api/embed", model=EMBED, keep_alive="5m")[1]["embeddings"] == []
    box.post("/v1/chat/completions", model=CHAT, messages=user("x"))
    first, second = box.ask("GET", "/api/ps")[1]["models"]
    assert (first["name"], second["name"]) == (CHAT, "nomic-embed-text:latest")
    assert first["expires_at"] > "2300"
    assert (first["size_vram"], first["context_length"], second["context_length"]) == (0, 4096, 2048)
    assert box.post("/api/generate", model=CHAT, keep_alive=0)[1]["done_reason"] == "unload"
    box.post("/api/embed", model=EMBED, input="x", keep_alive=0)
    assert box.ask("GET", "/api/ps")[1]["models"] == []
    box.post("/api/generate", model=CHAT, keep_alive="50ms")
    assert within(1, lambda: box.ask("GET", "/api/ps")[1]["models"] == [])
    unit = box.post("/api/generate", model=CHAT, keep_alive="-1")
    assert unit == (400, {"error": 'time: missing unit in duration "-1"'})


def test_the_model_used_least_makes_room(settings: ollama.Settings) -> None:
    with serving(replace(settings, max_loaded_models=1)) as box:
        box.pull(CHAT, EMBED)
        box.post("/api/generate", model=CHAT)
        box.post("/api/embed", model=EMBED, input="x")
        assert [model["name"] for model in box.ask("GET", "/api/ps")[1]["models"]] == ["nomic-embed-text:latest"]


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0.0), (-1, math.inf), (30, 30.0), ("1h30m", 5400.0), ("-1m", math.inf), ("250ms", 0.25)]
)
def test_keep_alive_values(value: object, seconds: float) -> None:
    assert ollama.keep_alive_seconds(value) == seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:11434", ("0.0.0.0", 11434)),
        ("box", ("box", 11434)),
        (":8080", ("0.0.0.0", 8080)),
        ("http://box:1", ("box", 1)),
    ],
)
def test_ollama_host(text: str, expected: tuple[str, int]) -> None:
    assert ollama.host_and_port(text) == expected


def test_fault_refuse_resets_every_connection(box: Box) -> None:
    box.fault("refuse")
    with pytest.raises(ConnectionError):
        box.ask("GET", "/api/tags")
    box.fault(None)
    assert box.ask("GET", "/api/tags")[0] == 200


def test_fault_hang_answers_nothing_until_it_is_cleared(box: Box) -> None:
    box.fault("hang")
    outcome: list[Exception] = []

    def wait() -> None:
        try:
            box.ask("GET", "/api/ps")
        except ConnectionError as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.15)
    assert waiting.is_alive()
    box.fault(None)
    waiting.join(2)
    assert len(outcome) == 1


@pytest.mark.parametrize("status", [500, 429])
def test_fault_status_hits_inference_alone_and_runs_out(box: Box, status: int) -> None:
    box.pull(CHAT)
    box.fault(str(status), count=1)
    assert box.ask("GET", "/api/tags")[0] == 200
    answer = box.post("/v1/chat/completions", model=CHAT, messages=user("x"))
    assert (answer[0], answer[1]["error"]["type"]) == (status, "api_error")
    assert box.post("/v1/chat/completions", model=CHAT, messages=user("x"))[0] == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_fault_cut_ends_an_answer_in_the_middle(box: Box, path: str, stream: bool) -> None:
    box.pull(CHAT)
    box.fault("cut")
    response = box.open("POST", path, {"model": CHAT, "messages": user("x"), "stream": stream})
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as failure:
        response.read()
    assert failure.value.partial
    assert b"[DONE]" not in failure.value.partial


def test_control_route_counts_and_refuses_what_it_does_not_know(box: Box) -> None:
    box.pull(CHAT)
    box.post("/api/chat", model=CHAT, messages=user("the secret word"), stream=False)
    report = box.ask("GET", "/_double")[1]
    assert report["fault"] is None
    assert report["requests"] == {"POST /api/pull": 1, "POST /api/chat": 1}
    assert report["models"] == {CHAT: 2}
    assert report["pulls"]["finished"] == 1
    assert "secret" not in json.dumps(report)
    assert "refuse, hang, 500, 429, cut" in box.post("/_double", fault="fire")[1]["error"]
    assert box.post("/_double", fault="500", count=0)[0] == 400


def test_bad_bodies_are_refused(box: Box) -> None:
    assert box.ask("POST", "/api/chat") == (400, {"error": "missing request body"})
    assert box.ask("POST", "/api/chat", [1])[0] == 400
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
    connection.request("POST", "/v1/chat/completions", b"{not json")
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["type"]) == (400, "invalid_request_error")
    connection.close()


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(SCRIPT), *arguments]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)


def test_commands_ask_the_server(box: Box) -> None:
    host = f"0.0.0.0:{box.port}"
    assert run(["pull", CHAT], OLLAMA_HOST=host).stdout.splitlines()[-1] == "success"
    box.post("/api/generate", model=CHAT)
    assert run(["ps"], OLLAMA_HOST=host).stdout.splitlines()[1].startswith(CHAT)
    listed = run(["list"], OLLAMA_HOST=host)
    assert (listed.returncode, "271 MB" in listed.stdout) == (0, True)
    assert run(["--version"], OLLAMA_HOST=host).stdout == "ollama version is 0.34.2\n"
    failed = run(["pull", "nope"], OLLAMA_HOST=host)
    assert (failed.returncode, failed.stderr) == (1, "Error: pull model manifest: file does not exist\n")


def test_commands_without_a_server() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        for command in ("ps", "list"):
            result = run([command], OLLAMA_HOST=host)
            assert (result.returncode, "could not connect to ollama server" in result.stderr) == (1, True)
        assert run(["--version"], OLLAMA_HOST=host).returncode == 0
    assert run(["dance"]).returncode == 1


def test_serve_runs_from_the_environment_and_stops_on_sigterm(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OLLAMA_HOST": f"127.0.0.1:{port}"}
    command = [sys.executable, "-S", str(SCRIPT), "serve"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        while "Listening on" not in (line := server.stderr.readline()):
            assert line
        assert within(5, lambda: run(["ps"], OLLAMA_HOST=environment["OLLAMA_HOST"]).returncode == 0)
        server.terminate()
        assert server.wait(5) == 0
    assert (tmp_path / ".ollama" / "models" / "manifests").is_dir()


def test_serve_says_when_the_port_is_taken(box: Box, tmp_path: Path) -> None:
    result = run(["serve"], OLLAMA_HOST=f"127.0.0.1:{box.port}", HOME=str(tmp_path))
    assert (result.returncode, "listen tcp" in result.stderr) == (1, True)


def test_a_prompt_longer_than_the_context_is_cut_from_the_front_without_a_word(box: Box) -> None:
    box.pull(CHAT)
    box.lines("/api/create", model="short", **{"from": CHAT}, parameters={"num_ctx": 300})
    long = " ".join(f"word{number}" for number in range(1000))
    messages = [{"role": "user", "content": "first question"}, {"role": "user", "content": f"{long} and the end"}]
    answer = box.post("/v1/chat/completions", model="short", messages=messages)[1]
    assert answer["usage"]["prompt_tokens"] == 300
    assert "You wrote: word707 word708" in answer["choices"][0]["message"]["content"]
    whole = box.post("/v1/chat/completions", model=CHAT, messages=messages)[1]
    assert whole["usage"]["prompt_tokens"] == 1003 + 2 + 2 * 4


def test_the_context_of_a_derived_model_wins_over_the_servers(box: Box) -> None:
    box.pull(CHAT)
    box.lines("/api/create", model="short", **{"from": CHAT}, parameters={"num_ctx": 300})
    box.post("/api/generate", model="short", keep_alive=-1)
    box.post("/api/generate", model=CHAT)
    loaded = {entry["name"]: entry for entry in box.ask("GET", "/api/ps")[1]["models"]}
    assert (loaded["short:latest"]["context_length"], loaded[CHAT]["context_length"]) == (300, 4096)
    assert int(loaded["short:latest"]["expires_at"][:4]) > 2200
    assert loaded["short:latest"]["digest"] != loaded[CHAT]["digest"]


def test_a_model_that_can_calls_the_tool_that_the_question_names(box: Box) -> None:
    box.pull(CHAT, "neural-chat")
    properties = {"value": {"type": "integer"}, "unit": {"type": "string"}, "exact": {"type": "boolean"}}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}
        for name in ("other", "report")
    ]
    question = [{"role": "user", "content": "Call report with 7. (a1b2)"}]
    answer = box.post("/v1/chat/completions", model=CHAT, messages=question, tools=tools)[1]["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    (call,) = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "report"
    assert json.loads(call["function"]["arguments"]) == {"value": 7, "unit": "text", "exact": True}
    events = box.events("/v1/chat/completions", model=CHAT, messages=question, tools=tools)
    deltas = [event["choices"][0] for event in events]
    assert [delta["delta"]["tool_calls"] for delta in deltas if "tool_calls" in delta["delta"]] == [[call]]
    assert deltas[-1]["finish_reason"] == "tool_calls"
    plain = box.post("/v1/chat/completions", model=CHAT, messages=user("hello"), tools=tools)[1]["choices"][0]
    assert (plain["finish_reason"], "tool_calls" in plain["message"]) == ("stop", False)
    refused = box.post("/v1/chat/completions", model="neural-chat", messages=question, tools=tools)
    assert (refused[0], "does not support tools" in refused[1]["error"]["message"]) == (400, True)
