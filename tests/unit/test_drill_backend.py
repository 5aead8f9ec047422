"""The drill's stand-in for hosted providers, asked over real connections."""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

HOST = "127.0.0.1"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def load() -> ModuleType:
    path = Path(__file__).parents[2] / "roles/drill/files/backend.py"
    spec = importlib.util.spec_from_file_location("drill_backend", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


backend: Any = load()


@pytest.fixture
def control() -> Iterator[Any]:
    providers = {name: backend.Provider(name, HOST, 0) for name in ("one", "two")}
    control = backend.Control(providers, HOST, 0)
    thread = threading.Thread(target=control.serve, daemon=True)
    thread.start()
    yield control
    control.close()
    thread.join(5)


def ask(port: int, method: str, path: str, body: Any = None, timeout: float = 5) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def fault(control: Any, **faults: str) -> None:
    status, answer = ask(control.port, "PUT", "/faults", faults)
    assert status == 200, answer


def hits(control: Any) -> dict[str, int]:
    answer: dict[str, int] = json.loads(ask(control.port, "GET", "/hits")[1])
    return answer


def test_answers_chat_of_openai_and_bills_it(control: Any) -> None:
    status, answer = ask(control.providers["one"].port, "POST", "/v1/chat/completions", QUESTION)
    assert status == 200
    body = json.loads(answer)
    assert body["choices"][0]["message"]["content"] == "All is well here."
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_streams_as_openai_does(control: Any) -> None:
    _, answer = ask(control.providers["one"].port, "POST", "/v1/chat/completions", {**QUESTION, "stream": True})
    events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]) == (
        "All is well here."
    )
    assert chunks[-1]["usage"]["total_tokens"] == 15


def test_answers_and_streams_as_anthropic_does(control: Any) -> None:
    port = control.providers["one"].port
    assert json.loads(ask(port, "POST", "/v1/messages", QUESTION)[1])["content"][0]["text"] == "All is well here."
    _, answer = ask(port, "POST", "/v1/messages", {**QUESTION, "stream": True})
    kinds = [line[7:] for line in answer.decode().splitlines() if line.startswith("event: ")]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_delta") == 5


def test_answers_embeddings(control: Any) -> None:
    _, answer = ask(control.providers["one"].port, "POST", "/v1/embeddings", {"model": "m", "input": ["a", "b"]})
    assert [item["embedding"] for item in json.loads(answer)["data"]] == [[0.6, 0.8], [0.6, 0.8]]


@pytest.mark.parametrize(("name", "status"), [("500", 500), ("429", 429)])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_answers_errors_on_command(control: Any, name: str, status: int, path: str) -> None:
    fault(control, one=name)
    assert ask(control.providers["one"].port, "POST", path, QUESTION)[0] == status
    assert ask(control.providers["two"].port, "POST", path, QUESTION)[0] == 200
    fault(control)
    assert ask(control.providers["one"].port, "POST", path, QUESTION)[0] == 200


def test_refuses_connections_and_ends_open_ones(control: Any) -> None:
    port = control.providers["one"].port
    kept = http.client.HTTPConnection(HOST, port, timeout=5)
    kept.request("POST", "/v1/chat/completions", json.dumps(QUESTION))
    kept.getresponse().read()
    fault(control, one="refuse")
    with pytest.raises(ConnectionRefusedError):
        ask(port, "POST", "/v1/chat/completions", QUESTION)
    assert kept.sock.recv(1) == b""
    kept.close()
    fault(control)
    assert ask(port, "POST", "/v1/chat/completions", QUESTION)[0] == 200


def test_hangs_until_told_otherwise(control: Any) -> None:
    port = control.providers["one"].port
    fault(control, one="hang")
    with pytest.raises(TimeoutError):
        ask(port, "POST", "/v1/chat/completions", QUESTION, timeout=0.2)
    ended: list[float] = []

    def wait() -> None:
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(port, "POST", "/v1/chat/completions", QUESTION)
        ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    while hits(control)["one"] < 2:
        time.sleep(0.01)
    assert not ended
    fault(control)
    thread.join(2)
    assert ended


def test_cuts_a_stream_after_its_first_words(control: Any) -> None:
    fault(control, one="cut")
    connection = http.client.HTTPConnection(HOST, control.providers["one"].port, timeout=5)
    connection.request("POST", "/v1/chat/completions", json.dumps({**QUESTION, "stream": True}))
    response = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    connection.close()
    assert b"All" in cut.value.partial
    assert b"[DONE]" not in cut.value.partial


def test_cuts_a_whole_answer_in_half(control: Any) -> None:
    fault(control, one="cut")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(control.providers["one"].port, "POST", "/v1/chat/completions", QUESTION)


def test_counts_what_reached_it(control: Any) -> None:
    ask(control.providers["two"].port, "POST", "/v1/chat/completions", QUESTION)
    assert hits(control) == {"one": 0, "two": 1}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"three": "hang"}, "there is no provider 'three': write one of one, two"),
        ({"one": "explode"}, "write one of refuse, hang, cut, 500, 429"),
        (["one"], "write an object"),
    ],
)
def test_refuses_faults_it_does_not_know_and_keeps_the_others(control: Any, body: Any, says: str) -> None:
    fault(control, one="500")
    status, answer = ask(control.port, "PUT", "/faults", body)
    assert status == 400
    assert says in json.loads(answer)["error"]
    assert ask(control.providers["one"].port, "POST", "/v1/chat/completions", QUESTION)[0] == 500


def test_says_what_it_does_not_know(control: Any) -> None:
    assert ask(control.port, "GET", "/ready")[0] == 200
    assert ask(control.port, "GET", "/secrets")[0] == 404
    assert ask(control.providers["one"].port, "POST", "/v1/images", {})[0] == 404


def test_needs_ports(capsys: pytest.CaptureFixture[str]) -> None:
    assert backend.main([]) == 2
    assert "usage" in capsys.readouterr().err
