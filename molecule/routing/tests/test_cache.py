"""The response cache: a client sees its own answers again, and never those of another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import on_boxes
import pytest
from as_clients import CHAT, ask_as, log_lines, question, redis
from testinfra.host import Host


def chat(text: str) -> dict[str, Any]:
    """Return a chat."""
    return question("cached", text)


def stream(text: str) -> dict[str, Any]:
    """Return a chat that is streamed."""
    return question("cached", text, stream=True)


def message(text: str) -> dict[str, Any]:
    """Return a question in Anthropic's words."""
    return question("cached-claude", text)


def message_stream(text: str) -> dict[str, Any]:
    """Return a question in Anthropic's words that is streamed."""
    return question("cached-claude", text, stream=True)


def response(text: str) -> dict[str, Any]:
    """Return a question for OpenAI's newer route."""
    return {"model": "cached", "input": text}


def response_stream(text: str) -> dict[str, Any]:
    """Return a streamed question for OpenAI's newer route."""
    return {"model": "cached", "input": text, "stream": True}


def embedding(text: str) -> dict[str, Any]:
    """Return a text to embed."""
    return {"model": "cached-embed", "input": text}


QUESTIONS = [
    (CHAT, chat),
    (CHAT, stream),
    ("/v1/messages", message),
    ("/v1/messages", message_stream),
    ("/v1/responses", response),
    ("/v1/responses", response_stream),
    ("/v1/embeddings", embedding),
]


@pytest.mark.parametrize(("path", "ask"), QUESTIONS)
def test_a_client_gets_its_own_answer_again_and_no_other_client_does(
    host: Host, path: str, ask: Callable[[str], Mapping[str, Any]]
) -> None:
    body = ask(f"A question at {time.time()}.")
    assert not ask_as(host, "app", body, path).cached
    on_boxes.wait_until(lambda: ask_as(host, "app", body, path).cached, 5, "the answer is cached")
    foreign = ask_as(host, "other", body, path)
    assert (foreign.status, foreign.cached) == (200, False), foreign.text


@pytest.mark.parametrize(("path", "ask"), QUESTIONS)
@pytest.mark.parametrize(
    "field", ["cache_key", "preset_cache_key", "cache", "metadata", "litellm_metadata", "extra_body", "litellm_params"]
)
def test_no_field_opens_the_cache_of_another_client(
    host: Host, path: str, ask: Callable[[str], Mapping[str, Any]], field: str
) -> None:
    body = ask(f"A question at {time.time()}.")
    ask_as(host, "app", body, path)
    on_boxes.wait_until(lambda: ask_as(host, "app", body, path).cached, 5, "the answer is cached")
    keys = [key for key in redis(host, "keys", "*answers:app:*").split() if key]
    key = ask_as(host, "app", body, path).headers["x-litellm-cache-key"]
    assert any(key in stored for stored in keys)
    space = {"namespace": "answers:app", "redis_namespace": "answers:app", "cache_key": key, "preset_cache_key": key}
    hostile = key if field.endswith("cache_key") else {**space, "cache": {"namespace": "answers:app"}}
    foreign = ask_as(host, "other", {**body, field: hostile}, path)
    assert (foreign.status, foreign.cached) == (200, False), foreign.text


def test_a_model_without_cache_ttl_is_asked_each_time(host: Host) -> None:
    body = question("smart", f"A question at {time.time()}.")
    assert [ask_as(host, "app", body).cached for _ in range(3)] == [False] * 3


def test_cached_answers_expire(host: Host) -> None:
    ask_as(host, "app", chat(f"A question at {time.time()}."))
    on_boxes.wait_until(lambda: "answers:app" in redis(host, "keys", "*answers:app:*"), 5, "the answer is kept")
    key = redis(host, "keys", "*answers:app:*").split()[0]
    assert 0 < int(redis(host, "ttl", key)) <= 300


def test_a_hit_shows_in_the_log_and_costs_nothing(host: Host) -> None:
    body = message(f"A question at {time.time()}.")
    ask_as(host, "app", body, "/v1/messages")
    on_boxes.wait_until(lambda: ask_as(host, "app", body, "/v1/messages").cached, 5, "the answer is cached")
    on_boxes.wait_until(lambda: bool(log_lines(host)[-1]["cache_hit"]), 5, "the hit is logged")
    hit = log_lines(host)[-1]
    assert (hit["cache_hit"], hit["cost_usd"], hit["client"]) == (True, 0.0, "app")
