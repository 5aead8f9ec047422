"""docs/examples/resilient-chat: the breaker, a limit for each person, log lines, figures, Sentry."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import examples
import jsonschema
import on_boxes
import pytest
from as_clients import Answer, ask_as, log_lines, question, redis
from bed.commands import docker
from bed.services import DOUBLES
from testinfra.host import Host

DEEPSEEK, LOCAL = "chat/together_ai/deepseek-ai/DeepSeek-V3.1", "local/ollama/mistral:7b-instruct@gateway-1"
SCHEMA = json.loads((on_boxes.ROOT / "docs/request-log.schema.json").read_text())
SENTRY_PORT = 9900
SENTRY_KEY = "0123456789abcdef0123456789abcdef"
# Keeps what it is sent, unpacked, in one file.
SENTRY_STAND_IN = """
import gzip, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers.get("Content-Encoding") == "gzip"
        with open("/run/sentry", "ab") as file:
            file.write(self.path.encode() + b" " + (gzip.decompress(body) if packed else body) + b"\\n")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
http.server.ThreadingHTTPServer(("", 9900), Handler).serve_forever()
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(host: Host) -> None:
    host.check_output(f"cat > /run/sentry.py <<'END'\n{SENTRY_STAND_IN}\nEND")
    host.check_output("systemd-run --unit=sentry python3 /run/sentry.py")
    examples.deploy(
        host,
        "resilient-chat",
        vault_sentry_dsn=f"http://{SENTRY_KEY}@{examples.address(examples.BOX)}:{SENTRY_PORT}/1",
        # The box has another address here, and so has the machine that watches.
        llm_bind_address="0.0.0.0",  # noqa: S104 -- inside the test bed
        llm_monitoring_networks=[f"{examples.address(DOUBLES)}/32"],
    )


def ask(host: Host, client: str = "alice", text: str = "", **more: object) -> Answer:
    return ask_as(host, client, question("default", text, **more))


def asked_of_deepseek(host: Host) -> int:
    counters: dict[str, Any] = json.loads(host.check_output("curl -sSf http://providers.test:8080/_double/counters"))
    return int(counters["models"].get("deepseek-ai/DeepSeek-V3.1", 0))


def test_deepseek_answers(host: Host) -> None:
    assert ask(host).backend == DEEPSEEK


def test_after_three_failures_deepseek_is_left_alone_for_a_minute(host: Host) -> None:
    before = asked_of_deepseek(host)
    on_boxes.provider_fault(host, "500")
    try:
        answers = [ask(host, text=f"Planted question {number}.") for number in range(8)]
    finally:
        on_boxes.provider_fault(host, None)
    assert [(answer.status, answer.backend) for answer in answers] == [(200, LOCAL)] * 8
    # The third failure opens the breaker; the other replica looks once a second, so it may have asked once more.
    assert asked_of_deepseek(host) - before in {3, 4}
    # It is well again, and nobody tries before the minute is over.
    assert ask(host).backend == LOCAL
    assert ask(host, stream=True).backend == LOCAL
    (cooldown,) = (key for key in redis(host, "keys", "*cooldown*").split() if DEEPSEEK in key)
    assert 30 < int(redis(host, "ttl", cooldown)) <= 60


def test_the_failures_are_reported_to_sentry_without_questions_and_keys(host: Host) -> None:
    path = "/api/1/envelope/"
    on_boxes.wait_until(lambda: path in host.run("cat /run/sentry").stdout, 15, "an event at Sentry")
    events = host.check_output("cat /run/sentry")
    assert "InternalServerError" in events
    assert "Planted question" not in events
    assert [name for name, value in on_boxes.secrets().items() if value in events] == []


def test_each_person_has_a_hundred_requests_a_minute(host: Host) -> None:
    answered = Counter(examples.backends(host, "alice", "local", 115, 4000))
    # A new minute may begin in between.
    assert answered[LOCAL] in range(80, 115)
    assert answered["429"] == 115 - answered[LOCAL]
    refused = ask(host)
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert ask(host, "bob").status == 200


def test_every_request_has_a_line_of_json(host: Host) -> None:
    lines = log_lines(host)
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    assert {"alice", "bob"} <= {line["client"] for line in lines}
    assert {200, 429} <= {line["status"] for line in lines}


def test_prometheus_reads_the_figures_and_nobody_else(host: Host) -> None:
    # The run has fetched it, as for every client on another machine.
    authority = (on_boxes.ROOT / "ca/gateway-1.crt").read_text()
    script = (
        "import ssl, sys, urllib.request; trusted = ssl.create_default_context(cadata=sys.argv[2]);"
        " print(urllib.request.urlopen(sys.argv[1], timeout=10, context=trusted).read().decode())"
    )
    for replica in ("litellm-1", "litellm-2"):
        url = f"https://{examples.BOX}:4000/metrics/{replica}"
        figures = docker("exec", DOUBLES, "python3", "-c", script, url, authority)
        assert "litellm_proxy_total_requests_metric_total{" in figures
    status, _, _ = on_boxes.ask(host, "/metrics/litellm-1")
    assert status == 404


def test_nothing_was_installed_at_the_start(host: Host) -> None:
    for replica in on_boxes.REPLICAS:
        log = host.check_output(f"docker logs {replica} 2>&1")
        assert "Installing" not in log
        assert "pip install" not in log
