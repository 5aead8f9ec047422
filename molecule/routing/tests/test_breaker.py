"""The breaker: opens on the third failure, for all replicas, over a restart; blames nobody else; closes again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import on_boxes
import pytest
from as_clients import ask_as, ask_many, question, redis, unspoilt_model
from testinfra.host import Host


@pytest.fixture(autouse=True)
def healthy(host: Host) -> Iterator[None]:
    """Leave no fault behind."""
    yield
    on_boxes.provider_fault(host, None)


def hits(host: Host) -> int:
    """Return how many requests reached the OpenAI stand-in."""
    counters = json.loads(host.check_output("curl -sSf http://providers.test:8080/_double/counters"))
    return int(counters["providers"].get("openai", 0))


def open_breakers(host: Host) -> set[str]:
    """Return the backends whose breaker is open."""
    keys = redis(host, "keys", "*deployment:*:cooldown").split()
    return {key.split("deployment:", 1)[1].rsplit(":cooldown", 1)[0] for key in keys}


def test_it_opens_on_the_third_failure_for_all_replicas_and_closes_after_a_minute(host: Host) -> None:
    model = unspoilt_model()
    on_boxes.provider_fault(host, "500", provider="openai")
    before = hits(host)
    answers = ask_many(host, "app", model, 3)
    opened = time.monotonic()
    # A replica looks for breakers that others opened once a second.
    time.sleep(1.5)
    answers += ask_many(host, "app", model, 9)
    assert {(answer.status, answer.model) for answer in answers} == {(200, "general")}
    assert hits(host) - before == 3
    host.check_output("docker restart llm-gateway-litellm-1")
    on_boxes.provider_fault(host, None)
    on_boxes.wait_until_healthy(host, "llm-gateway-litellm-1")
    assert {answer.model for answer in ask_many(host, "app", model, 4)} == {"general"}, "kept over a restart"
    on_boxes.wait_until(lambda: ask_as(host, "app", question(model)).model == model, 70, "the breaker closes")
    assert 50 < time.monotonic() - opened < 75


def test_a_healthy_fallback_is_not_blamed_for_an_open_breaker(host: Host) -> None:
    on_boxes.provider_fault(host, "500", provider="openai")
    model = unspoilt_model()
    answers = ask_many(host, "app", model, 40)
    assert {(answer.status, answer.model) for answer in answers} == {(200, "general")}
    assert f"{model}/server/gpt-5.4" in open_breakers(host)
    assert not [backend for backend in open_breakers(host) if backend.startswith("general/")]
    page = on_boxes.play("status")
    assert page.rc == 0, page.output
    assert f"{model}/server/gpt-5.4" in page.output


def test_it_opens_for_a_server_that_refuses_connections(host: Host) -> None:
    on_boxes.provider_fault(host, "refuse", provider="openai")
    assert {answer.status for answer in ask_many(host, "app", "pair-open", 14)} == {200}
    assert "pair-open/server/gpt-5.4" in open_breakers(host)
    assert "pair-open/anthropic/claude-opus-4-5" not in open_breakers(host)


def test_it_opens_for_a_stopped_ollama_and_costs_nothing_then(host: Host) -> None:
    host.check_output("docker stop llm-gateway-ollama")
    try:
        answers = ask_many(host, "app", "lonely", 6)
        assert {(answer.status, answer.model) for answer in answers} == {(200, "long")}, [a.text for a in answers]
        assert "lonely/ollama/smollm2:135m@llm-routing-box" in open_breakers(host)
    finally:
        host.check_output("docker start llm-gateway-ollama")
    on_boxes.wait_until_healthy(host, "llm-gateway-ollama")
