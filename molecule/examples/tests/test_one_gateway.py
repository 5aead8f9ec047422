"""docs/examples/one-gateway: a real llama.cpp server with random weights, hosted models behind it, four replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator

import examples
import on_boxes
import pytest
from as_clients import Answer, ask_as, question
from examples import LlamaServer
from testinfra.host import Host

from tests.doubles import tiny_gguf

PORT = 4000
REPLICAS = tuple(f"llm-gateway-litellm-{number}" for number in range(1, 5))
LOCAL, FAST, CLAUDE, GPT = (
    "local-model/llamacpp/qwen3-8b",
    "local-fast/llamacpp/qwen3-1.7b",
    "claude/anthropic/claude-haiku-4-5",
    "gpt/openai/gpt-5.4-mini",
)


@pytest.fixture(scope="module", autouse=True)
def llama(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Put the gateway in front of a llama.cpp server."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    model.write_bytes(tiny_gguf.model())
    server = LlamaServer()
    try:
        server.create(model)
        server.start()
        examples.deploy(host, "one-gateway")
        yield server
    finally:
        server.remove()


def ask(host: Host, model: str = "default", text: str = "", **more: object) -> Answer:
    return ask_as(host, "chat-ui", question(model, text, **more), port=PORT)


def said(answer: Answer) -> list[str]:
    return list(json.loads(answer.text)["choices"][0]["message"]["content"].split())


def test_llama_cpp_answers_for_both_local_names(host: Host) -> None:
    for model, backend in (("default", LOCAL), ("local-model", LOCAL), ("local-fast", FAST)):
        answer = ask(host, model)
        assert (answer.status, answer.backend) == (200, backend), answer.text
        assert said(answer)
        assert set(said(answer)) <= set(tiny_gguf.WORDS.split())


def test_llama_cpp_streams_to_the_chat_page(host: Host) -> None:
    answer = ask(host, stream=True)
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    deltas = [choice["delta"].get("content") for event in events[:-1] for choice in json.loads(event)["choices"]]
    assert set("".join(filter(None, deltas)).split()) <= set(tiny_gguf.WORDS.split())
    assert len(list(filter(None, deltas))) >= 1


def test_the_chat_page_sees_all_models(host: Host) -> None:
    listed = json.loads(ask_as(host, "chat-ui", None, "/v1/models", port=PORT).text)["data"]
    assert {"local-model", "local-fast", "claude", "gpt"} <= {model["id"] for model in listed}


def test_four_replicas_share_the_work(host: Host) -> None:
    on_boxes.wait_until_healthy(host, *REPLICAS)
    examples.backends(host, "chat-ui", "local-fast", 60, PORT)
    for replica in REPLICAS:
        lines = host.check_output(f'docker logs {replica} 2>/dev/null | grep -c -F \'"event": "request"\'')
        assert int(lines) > 0, replica


def test_the_same_question_is_answered_from_the_cache_for_ten_minutes(host: Host) -> None:
    first, second = (ask(host, text="What is asked twice?") for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    # With random weights the same words come again only from the cache.
    assert said(second) == said(first)
    assert 500 < examples.longest_cached(host, "chat-ui") <= 600


def test_a_silent_llama_cpp_is_left_in_under_three_seconds(host: Host, llama: LlamaServer) -> None:
    llama.hang()
    try:
        answer = ask(host, stream=True)
    finally:
        llama.go_on()
    assert (answer.status, answer.backend) == (200, CLAUDE)
    assert answer.seconds < 3


def test_hosted_models_take_over_in_their_order_while_llama_cpp_is_off(host: Host, llama: LlamaServer) -> None:
    examples.forget_failures(host)
    llama.stop()
    try:
        answered = [ask(host).backend, ask(host, "local-fast").backend]
        on_boxes.provider_fault(host, "500", provider="anthropic")
        answered.append(ask(host).backend)
    finally:
        on_boxes.provider_fault(host, None)
        llama.start()
    assert answered == [CLAUDE, GPT, GPT]
    examples.forget_failures(host)
    on_boxes.wait_until(lambda: ask(host).backend == LOCAL, 20, "llama.cpp answers again")
