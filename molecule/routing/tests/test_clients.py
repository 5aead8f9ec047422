"""Clients: own keys, own models, own limits over all replicas; no way around them."""

from __future__ import annotations

import hashlib
import json

import on_boxes
import pytest
from as_clients import CHAT, ask_as, ask_at_once, ask_many, key_of, question
from testinfra.host import Host


def test_both_keys_hold_while_a_client_changes_over(host: Host) -> None:
    for client in ("changing", "changing-next"):
        assert ask_as(host, client, question("local")).status == 200


def test_a_key_may_come_as_anthropics_programs_send_it(host: Host) -> None:
    header = f"x-api-key: {key_of('app')}"
    status, _, answer = on_boxes.ask(
        host, "/v1/messages", question("general"), (header, "anthropic-version: 2023-06-01")
    )
    assert (status, answer["type"]) == (200, "message"), answer


def test_a_wrong_key_is_refused(host: Host) -> None:
    status, _, answer = on_boxes.ask(host, CHAT, question("local"), ("Authorization: Bearer sk-wrong",))
    assert (status, answer["error"]["message"]) == (401, "The key is missing or wrong.")


def test_only_hashes_of_the_keys_are_on_the_box(host: Host) -> None:
    key = key_of("app")
    found = host.run(f"grep -rlF {key} /opt/llm-gateway /var/lib/llm-gateway")
    assert found.stdout == ""
    policy = "/opt/llm-gateway/litellm/secrets/policy.json"
    assert hashlib.sha256(key.encode()).hexdigest() in host.check_output(f"cat {policy}")
    assert host.file(policy).mode == 0o400


@pytest.mark.parametrize(
    "model",
    [
        "smart",
        "smart/server/gpt-5.4",
        "local/ollama/smollm2:135m@llm-routing-box",
        "openai/gpt-5.4",
        "smart,local",
        "*",
        ["smart"],
    ],
)
def test_a_model_that_is_not_allowed_is_refused_whatever_it_is_called(host: Host, model: str | list[str]) -> None:
    answer = ask_as(host, "local-only", {**question("local"), "model": model})
    assert answer.status == 403, answer.text


def test_a_fallback_is_no_way_to_a_model_that_is_not_allowed(host: Host) -> None:
    answer = ask_as(host, "own-chain", {**question("smart"), "fallbacks": ["general"]})
    assert answer.status == 403, answer.text


def test_the_default_model_is_the_clients_own(host: Host) -> None:
    assert ask_as(host, "app", question("default")).model == "local"
    assert ask_as(host, "own-chain", question("default")).model == "smart"
    listed = json.loads(ask_as(host, "local-only", None, "/v1/models").text)["data"]
    assert [model["id"] for model in listed] == ["local"]


def test_requests_a_minute_hold_over_all_replicas(host: Host) -> None:
    # A window may begin anew in between, so more than one minute's worth may pass, but not two and a request more.
    answers = ask_many(host, "few-requests", "local", 8)
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(passed) + len(refused) == 8
    assert len(passed) <= 6
    assert refused
    assert 0 < int(refused[-1].headers["retry-after"]) <= 60
    assert "requests" in refused[-1].error


def test_tokens_a_minute_hold_over_all_replicas(host: Host) -> None:
    answers = ask_many(host, "few-tokens", "local", 12)
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert "tokens" in refused[-1].error
    assert 0 < int(refused[-1].headers["retry-after"]) <= 60


def test_requests_at_the_same_time_are_limited_over_all_replicas(host: Host) -> None:
    on_boxes.provider_fault(host, "slow", provider="openai", seconds=2)
    try:
        answers = ask_at_once(host, "one-at-a-time", "long", 4)
    finally:
        on_boxes.provider_fault(host, None)
    assert sorted(answer.status for answer in answers) == [200, 429, 429, 429]
    assert ask_as(host, "one-at-a-time", question("long")).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/ui/"),
        ("GET", "/metrics"),
        ("GET", "/metrics/"),
        ("GET", "/metrics/litellm-1"),
        ("GET", "/health"),
        ("GET", "/health/readiness"),
        ("GET", "/model/info"),
        ("GET", "/v1/model/info"),
        ("GET", "/provider/budgets"),
        ("GET", "/routes"),
        ("GET", "/openapi.json"),
        ("GET", "/sso/key/generate"),
        ("GET", "/public/model_hub"),
        ("GET", "/cache/ping"),
        ("POST", "/cache/flushall"),
        ("POST", "/key/generate"),
        ("POST", "/config/update"),
        ("POST", "/model/new"),
        ("GET", "/v1/models/../../metrics/"),
        ("GET", "//metrics/"),
        ("GET", "/v1/..%2fmetrics/"),
    ],
)
def test_no_administrative_route_is_there_for_a_client(host: Host, method: str, path: str) -> None:
    answer = ask_as(
        host, "app", {} if method == "POST" else None, path, method=method, headers=("X-Extra: --path-as-is",)
    )
    assert answer.status == 404, answer.text


def test_the_replicas_refuse_administrative_routes_by_themselves(host: Host) -> None:
    """The hooks hold, also for whoever gets past the ingress."""
    address = host.check_output(
        "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' llm-gateway-litellm-1"
    )
    for method, path in (
        ("GET", "/model/info"),
        ("GET", "/health"),
        ("POST", "/cache/flushall"),
        ("GET", "/provider/budgets"),
    ):
        status = host.check_output(
            f"curl -s -o /dev/null -w '%{{http_code}}' -X {method} -H 'Authorization: Bearer {key_of('app')}'"
            f" http://{address}:4000{path}"
        )
        assert status == "404", (method, path)
