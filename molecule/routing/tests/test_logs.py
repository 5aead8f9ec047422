"""One JSON line for each request, and figures for Prometheus."""

from __future__ import annotations

import json

import jsonschema
import on_boxes
from as_clients import ask_as, log_lines, question, unspoilt_model, wait_until
from testinfra.host import Host

SCHEMA = json.loads((on_boxes.ROOT / "docs/request-log.schema.json").read_text())
METRICS = (
    "litellm_proxy_total_requests_metric_total",
    "litellm_proxy_failed_requests_metric_total",
    "litellm_request_total_latency_metric_bucket",
    "litellm_llm_api_time_to_first_token_metric_bucket",
    "litellm_spend_metric_total",
    "litellm_input_tokens_metric_total",
    "litellm_output_tokens_metric_total",
    "litellm_deployment_state",
)


def test_each_request_has_one_line_that_fits_the_schema(host: Host) -> None:
    before = {line["request_id"] for line in log_lines(host)}
    asked = [
        ask_as(host, "app", question("smart", "planted question")),
        ask_as(host, "app", question("smart", "planted question", stream=True)),
        ask_as(host, "app", {"model": "cached-embed", "input": "planted question"}, "/v1/embeddings"),
        ask_as(host, "local-only", question("smart", "planted question")),
    ]
    wait_until(lambda: len(log_lines(host)) >= len(before) + 4, 5, "four lines")
    lines = [line for line in log_lines(host) if line["request_id"] not in before]
    for line in log_lines(host):
        jsonschema.validate(line, SCHEMA)
    assert len(lines) == len(asked)
    assert [(line["client"], line["status"], line["stream"]) for line in lines] == [
        ("app", 200, False),
        ("app", 200, True),
        ("app", 200, False),
        ("local-only", 403, False),
    ]


def test_the_line_tells_of_a_fallback(host: Host) -> None:
    on_boxes.provider_fault(host, "500", provider="openai", count=1)
    model = unspoilt_model()
    ask_as(host, "app", question(model))
    wait_until(lambda: log_lines(host)[-1]["fallbacks"] == 1, 5, "the line")
    line = log_lines(host)[-1]
    assert (line["model_asked"], line["model"], line["provider"]) == (model, "general", "anthropic")


def test_nothing_that_was_said_is_logged(host: Host) -> None:
    for replica in on_boxes.REPLICAS:
        assert "planted question" not in host.check_output(f"docker logs {replica} 2>&1")


def test_the_figures_are_there_with_few_labels(host: Host) -> None:
    ask_as(host, "app", question("smart", stream=True))
    address = "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'"
    figures = ""
    for replica in on_boxes.REPLICAS:
        figures += host.check_output(f"curl -sSfL http://$({address} {replica}):4000/metrics/")
    for name in METRICS:
        assert f"\n{name}{{" in figures, name
    assert "client_ip" not in figures
    assert "user_agent" not in figures
    assert "hashed_api_key" not in figures
    assert 'api_key_alias="app"' in figures
