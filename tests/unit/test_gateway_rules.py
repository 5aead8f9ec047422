"""What clients may send, which errors fall back, and what the log line of a request holds."""

from __future__ import annotations

import contextvars
import hashlib
import json
import logging
from typing import Any

import pytest
from gateway.caller import Caller, note_caller
from gateway.fallback_rule import falls_back
from gateway.log_line import error_line, success_line
from gateway.policy import Budget, read_policy
from gateway.quiet_logs import NoAccessLines, WithoutQuestions
from gateway.steering import (
    ALLOWED_FIELDS,
    WrongBody,
    checked_body,
    client_route,
    may_be_cached,
    without_order_headers,
    without_orders,
)

POLICY: dict[str, Any] = {
    "namespace": "llm",
    "redis": {"host": "redis", "port": 6379},
    "budget_unavailable": "closed",
    "models": {"smart": {"mode": "chat", "cache_ttl": 600}, "local": {"mode": "chat", "cache_ttl": None}},
    "providers": {"openai": {"monthly_budget_usd": 100, "fallback_at_percent": 80}},
    "deployments": {"smart/openai/gpt": "openai"},
    "clients": {
        "app": {
            "key_hashes": [hashlib.sha256(key.encode()).hexdigest() for key in ("sk-old", "sk-new")],
            "models": ["smart"],
            "monthly_budget_usd": 5,
            "fallback_on": [400, 404],
        }
    },
}


def test_both_keys_of_a_client_hold_while_it_changes_over() -> None:
    policy = read_policy(POLICY)
    for key in ("sk-old", "sk-new"):
        client = policy.client_of_key(key)
        assert client is not None
        assert client.name == "app"
    assert policy.client_of_key("sk-other") is None
    assert policy.client_of_key(hashlib.sha256(b"sk-old").hexdigest()) is None


def test_a_provider_is_left_out_at_its_share_and_a_client_at_its_whole_budget() -> None:
    policy = read_policy(POLICY)
    assert policy.provider_budgets == {"openai": Budget(100, 80)}
    assert policy.clients["app"].budget == Budget(5, 5)
    assert policy.cache_ttl == {"smart": 600}
    assert policy.refuse_without_redis


def test_the_hashes_do_not_show_when_the_policy_is_printed() -> None:
    assert hashlib.sha256(b"sk-old").hexdigest() not in repr(read_policy(POLICY))


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/v1/chat/completions", "/chat/completions"),
        ("POST", "/chat/completions", "/chat/completions"),
        ("POST", "/v1/messages", "/messages"),
        ("POST", "/v1/responses", "/responses"),
        ("GET", "/v1/models", "/models"),
        ("GET", "/models", "/models"),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/models", None),
        ("GET", "/v1/models/smart", None),
        ("POST", "/cache/flushall", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("GET", "/model/info", None),
        ("GET", "/health", None),
        ("POST", "/key/generate", None),
        ("POST", "/v1/v1/chat/completions", None),
        ("POST", "/openai/deployments/smart/chat/completions", None),
        ("POST", "/v1/chat/completions/", None),
        ("GET", "/v1/responses/resp_1", None),
    ],
)
def test_clients_have_a_few_routes_and_no_others(method: str, path: str, route: str | None) -> None:
    assert client_route(method, path) == route


@pytest.mark.parametrize("route", sorted(ALLOWED_FIELDS))
def test_nothing_that_steers_the_gateway_passes(route: str) -> None:
    orders = [
        "api_base",
        "api_key",
        "base_url",
        "cache",
        "cache_key",
        "caching",
        "context_window_fallbacks",
        "custom_llm_provider",
        "deployment_id",
        "disable_fallbacks",
        "extra_body",
        "extra_headers",
        "fallbacks",
        "guardrails",
        "headers",
        "input_cost_per_token",
        "litellm_metadata",
        "litellm_params",
        "metadata",
        "mock_response",
        "model_info",
        "model_list",
        "no-log",
        "num_retries",
        "preset_cache_key",
        "router_settings_override",
        "store",
        "tags",
        "timeout",
        "user_config",
    ]
    body = dict.fromkeys(orders, "x") | {"model": "smart"}
    assert without_orders(route, body) == {"model": "smart"}


def test_what_describes_the_question_passes() -> None:
    body = {
        "model": "smart",
        "messages": [],
        "tools": [],
        "temperature": 0,
        "stream": True,
        "min_p": 0.1,
        "response_format": {},
    }
    assert without_orders("/chat/completions", body) == body
    assert without_orders("/embeddings", {"model": "embed", "input": "x", "dimensions": 3}) == {
        "model": "embed",
        "input": "x",
        "dimensions": 3,
    }


def test_orders_in_headers_are_dropped() -> None:
    headers = [(b"authorization", b"x"), (b"X-LiteLLM-Timeout", b"1"), (b"x-litellm-tags", b"a"), (b"litellm-x", b"1")]
    assert without_order_headers(headers) == [(b"authorization", b"x")]


@pytest.mark.parametrize(
    ("status", "message", "long", "chosen", "expected"),
    [
        (500, "", False, None, True),
        (429, "", False, None, True),
        (401, "the gateway's own key", False, None, True),
        (404, "no such model", False, None, True),
        (400, "Invalid value for 'temperature'", False, None, False),
        (422, "", False, None, False),
        (400, "Your credit balance is too low to access the Anthropic API.", False, None, True),
        (400, "too long", True, None, True),
        (400, "too long", True, frozenset({404}), True),
        (400, "", False, frozenset({400}), True),
        (500, "", False, frozenset({400}), False),
        (429, "", False, frozenset({400, 404}), False),
    ],
)
def test_which_errors_go_on_to_the_next_model(
    status: int, message: str, *, long: bool, chosen: frozenset[int] | None, expected: bool
) -> None:
    assert falls_back(status, message, other_for_long_prompts=long, chosen=chosen) is expected


PAYLOAD = {
    "id": "chatcmpl-1",
    "litellm_call_id": "call-1",
    "startTime": 1000.2,
    "endTime": 1001.5,
    "completionStartTime": 1000.7,
    "stream": True,
    "model_group": "local",
    "model_id": "local/ollama/x@box",
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "response_cost": 0.25,
    "cache_hit": None,
    "messages": [{"role": "user", "content": "planted question"}],
    "response": "planted answer",
}


def test_the_line_tells_who_asked_and_who_answered_and_nothing_of_what_was_said() -> None:
    metadata = {
        "litellm_received_at": 1000.0,
        "user_api_key_alias": "app",
        "user_api_key_request_route": "/v1/chat/completions",
        "attempted_fallbacks": 1,
    }
    text = success_line(PAYLOAD, metadata, "smart", "ollama")
    assert "planted" not in text
    assert "\n" not in text
    assert json.loads(text) == {
        "event": "request",
        "time": "1970-01-01T00:16:41.500Z",
        "request_id": "call-1",
        "client": "app",
        "route": "/v1/chat/completions",
        "model_asked": "smart",
        "model": "local",
        "backend": "local/ollama/x@box",
        "provider": "ollama",
        "stream": True,
        "status": 200,
        "result": "success",
        "error_class": None,
        "input_tokens": 5,
        "output_tokens": 7,
        "cost_usd": 0.25,
        "latency_seconds": 1.5,
        "first_token_seconds": 0.7,
        "cache_hit": False,
        "fallbacks": 1,
    }


def test_the_line_of_an_error_has_the_same_keys() -> None:
    text = error_line(
        now=1001.0,
        begin=1000.0,
        request_id="call-2",
        client=None,
        route="/v1/models",
        asked=None,
        streamed=False,
        status=401,
        error_class="ProxyException",
    )
    line = json.loads(text)
    assert set(line) == set(json.loads(success_line(PAYLOAD, {}, None, None)))
    assert (line["result"], line["status"], line["client"], line["latency_seconds"]) == ("error", 401, None, 1.0)


@pytest.mark.parametrize(
    ("route", "body", "says"),
    [
        ("/chat/completions", [1], "JSON object"),
        ("/chat/completions", {"messages": "text"}, "messages must be a list of objects"),
        ("/messages", {"messages": ["text"]}, "messages must be a list of objects"),
        ("/responses", {"input": 5}, "input must be text or a list"),
        ("/embeddings", {"input": ["a"] * 2049}, "input has 2049 entries, 2048 at most"),
        ("/responses", {"input": [{}] * 10001}, "input has 10001 entries, 10000 at most"),
    ],
)
def test_a_body_that_is_no_question_is_told_so(route: str, body: Any, says: str) -> None:
    with pytest.raises(WrongBody, match=says):
        checked_body(route, body)


def test_a_question_passes_as_it_is() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "input": ["a"] * 2048}
    assert checked_body("/embeddings", body) is body


def test_the_cache_is_left_out_where_it_would_mix_up_questions_or_cost_more_than_it_saves() -> None:
    assert may_be_cached({"messages": [], "temperature": 0})
    assert may_be_cached({"input": ["a"] * 100})
    assert not may_be_cached({"messages": [], "guided_json": {}})
    assert not may_be_cached({"input": "a", "input_type": "query"})
    assert not may_be_cached({"input": ["a"] * 101})


def test_within_a_request_a_log_record_keeps_no_text() -> None:
    record = logging.makeLogRecord(
        {
            "msg": "litellm_call_id=abc-1 Received Messages=%s",
            "args": ("planted",),
            "module": "router",
            "funcName": "go",
        }
    )
    record.error = "planted"
    request = contextvars.copy_context()
    request.run(note_caller, Caller("app"))
    request.run(WithoutQuestions().filter, record)
    assert record.getMessage() == "router.go litellm_call_id=abc-1"
    assert "planted" not in str(vars(record))


def test_outside_of_requests_a_log_record_stays_as_it_is() -> None:
    record = logging.makeLogRecord({"msg": "Configuration validation failed: %s", "args": ("label",)})
    assert WithoutQuestions().filter(record)
    assert record.getMessage() == "Configuration validation failed: label"


def test_the_access_log_is_silent() -> None:
    record = logging.makeLogRecord({"msg": '%s - "%s %s"', "args": ("1.2.3.4:5", "POST", "/v1/models?q=planted")})
    assert not NoAccessLines().filter(record)
