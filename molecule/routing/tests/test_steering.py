"""No field of a body and no header by which a client could steer the gateway does anything."""

from __future__ import annotations

import time
from typing import Any

import pytest
from as_clients import CHAT, ask_as, question
from testinfra.host import Host

LOCAL = "local/ollama/smollm2:135m@llm-routing-box"
STEERING: dict[str, Any] = {
    "api_base": "http://evil.test/v1",
    "api_key": "sk-evil",
    "base_url": "http://evil.test/v1",
    "cache": {"namespace": "answers:app", "ttl": 99999, "s-maxage": 1000},
    "caching": True,
    "caching_groups": [["smart", "local"]],
    "context_window_fallbacks": [{"smart": ["local"]}],
    "custom_llm_provider": "anthropic",
    "deployment_id": LOCAL,
    "disable_fallbacks": True,
    "extra_body": {"cache": {"namespace": "answers:app"}, "mock_response": "owned"},
    "extra_headers": {"x-evil": "1"},
    "fallbacks": ["local"],
    "fastest_response": True,
    "guardrails": ["none"],
    "headers": {"x-evil": "1"},
    "input_cost_per_token": 0,
    "litellm_metadata": {"redis_namespace": "answers:app", "user_api_key_alias": "app"},
    "litellm_params": {"mock_response": "owned"},
    "max_fallbacks": 0,
    "metadata": {"redis_namespace": "answers:app", "user_api_key_alias": "app", "tags": ["x"]},
    "mock_response": "owned",
    "mock_testing_fallbacks": True,
    "mock_testing_rate_limit_error": True,
    "mock_timeout": True,
    "model_info": {"id": LOCAL},
    "model_list": [{"model_name": "smart", "litellm_params": {"model": "openai/x"}}],
    "no-log": True,
    "num_retries": 5,
    "output_cost_per_token": 0,
    "request_timeout": 0.001,
    "router_settings_override": {"fallbacks": []},
    "specific_deployment": True,
    "stream_timeout": 0.001,
    "tags": ["x"],
    "timeout": 0.001,
    "user_config": {"model_list": []},
    "_excluded_deployment_ids": ["smart/server/gpt-5.4"],
    "_target_order": 1,
}
ORDER_HEADERS = (
    "x-litellm-timeout: 0.001",
    "x-litellm-stream-timeout: 0.001",
    "x-litellm-num-retries: 5",
    "x-litellm-tags: a",
    "x-litellm-disable-callbacks: gateway",
)


@pytest.mark.parametrize("field", sorted(STEERING))
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_a_steering_field_is_refused_or_without_effect(host: Host, path: str, field: str) -> None:
    body = question("smart") if path != "/v1/responses" else {"model": "smart", "input": f"Question at {time.time()}."}
    answer = ask_as(host, "other", {**body, field: STEERING[field]}, path)
    if answer.status == 401:
        assert "not allowed in" in answer.error, answer.text
        return
    assert (answer.status, answer.backend) == (200, "smart/server/gpt-5.4"), answer.text
    assert not answer.cached
    assert "owned" not in answer.text


@pytest.mark.parametrize(
    "field", ["cache", "fallbacks", "metadata", "mock_response", "mock_testing_fallbacks", "timeout"]
)
def test_nor_for_embeddings(host: Host, field: str) -> None:
    body = {"model": "cached-embed", "input": f"Text at {time.time()}.", field: STEERING[field]}
    answer = ask_as(host, "other", body, "/v1/embeddings")
    assert (answer.status, answer.cached) == (200, False), answer.text


def test_steering_headers_are_without_effect(host: Host) -> None:
    answer = ask_as(host, "other", question("smart"), headers=ORDER_HEADERS)
    assert (answer.status, answer.backend) == (200, "smart/server/gpt-5.4"), answer.text


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize("model", ["smart", "cached-embed", "smart/server/gpt-5.4"])
def test_the_query_names_no_model(host: Host, path: str, model: str) -> None:
    body = {**question("local"), "prompt": "Hello.", "input": "Hello."}
    answer = ask_as(host, "local-only", body, f"{path}?model={model}")
    assert answer.model in (None, "local"), answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "smart", "messages": ["text"]}),
        (CHAT, {"model": "smart", "messages": "text"}),
        ("/v1/responses", {"model": "smart", "input": 5}),
        ("/v1/embeddings", {"model": "cached-embed", "input": ["a"] * 2049}),
    ],
)
def test_a_body_that_is_no_question_is_refused(host: Host, path: str, body: Any) -> None:
    answer = ask_as(host, "other", body, path)
    assert answer.status == 400, answer.text


def test_questions_that_differ_in_what_the_cache_does_not_see_are_not_mixed_up(host: Host) -> None:
    text = f"Question at {time.time()}."
    for schema in ({"type": "string"}, {"type": "number"}):
        assert not ask_as(host, "other", question("cached", text, guided_json=schema)).cached
        time.sleep(0.5)
