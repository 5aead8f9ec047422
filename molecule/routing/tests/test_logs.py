"""One JSON line for each request, and figures for Prometheus."""

from __future__ import annotations

import json
import shlex

import jsonschema
import on_boxes
from as_clients import ask_as, key_of, log_lines, question, unspoilt_model
from testinfra.host import Host

SCHEMA = json.loads((on_boxes.ROOT / "docs/request-log.schema.json").read_text())
JSON = "Content-Type: application/json"
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
    on_boxes.wait_until(lambda: len(log_lines(host)) >= len(before) + 4, 5, "four lines")
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
    on_boxes.wait_until(lambda: log_lines(host)[-1]["fallbacks"] == 1, 5, "the line")
    line = log_lines(host)[-1]
    assert (line["model_asked"], line["model"], line["provider"]) == (model, "general", "anthropic")


def test_a_stream_that_the_client_leaves_is_counted_and_logged(host: Host) -> None:
    body = {"model": "general", "prompt": "word " * 1500, "stream": True, "max_tokens": 60}
    before = {line["request_id"] for line in log_lines(host)}
    header = f"Authorization: Bearer {key_of('app')}"
    url = f"{on_boxes.GATEWAY}/v1/completions"
    host.run(shlex.join([*on_boxes.CURL, "-sN", "-m", "0.8", "-H", header, "-H", JSON, "-d", json.dumps(body), url]))
    on_boxes.wait_until(lambda: {line["request_id"] for line in log_lines(host)} > before, 10, "the line")
    (line,) = [line for line in log_lines(host) if line["request_id"] not in before]
    assert line["cost_usd"] > 0


def test_nothing_that_was_said_is_logged(host: Host) -> None:
    broken = {"role": "planted question", "content": [{"type": "image_url", "image_url": {"url": "planted question"}}]}
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        body = {"model": "smart", "messages": [broken], "input": [broken], "max_tokens": 20}
        ask_as(host, "app", body, f"{path}?q=planted%20question")
    part = {"role": "user", "content": ["planted question"]}
    assert ask_as(host, "app", {"model": "smart", "messages": [part]}).status >= 400
    ask_as(host, "app", {"model": "smart", "prompt": [{"planted question": 1}]}, "/v1/completions")
    for replica in on_boxes.REPLICAS:
        printed = host.check_output(f"docker logs {replica} 2>&1")
        assert "planted question" not in printed
        assert "planted%20question" not in printed


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
