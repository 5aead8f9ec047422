"""The ingress lets clients' questions through and nothing else, and no client notices when a replica stops."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING

import on_boxes
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

CLOSED = (
    "/",
    "/cache/ping",
    "/health",
    "/health/readiness",
    "/metrics",
    "/metrics/",
    "/metrics/litellm-1",
    "/model/info",
    "/routes",
    "/ui",
    "/v1/models/../../cache/ping",
    "/v1/models/..%2f..%2fcache/ping",
    "/v1/models/%252e%252e/%252e%252e/cache/ping",
)
CURL = shlex.join(on_boxes.CURL)
# Runs on the box: asks without a pause and prints the status of every answer.
ASK_ON = """
import json, subprocess, sys, time
end = time.monotonic() + float(sys.argv[1])
body = json.dumps({"model": "local", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5})
while time.monotonic() < end:
    subprocess.run([*sys.argv[4:], "-s", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}\\n",
                    "-H", "@" + sys.argv[2],
                    "-H", "Content-Type: application/json", "-d", body, sys.argv[3] + "/v1/chat/completions"])
"""


def status_of(host: Host, url: str, *options: str) -> tuple[int, str]:
    """Return curl's exit status and the HTTP status of a question without a key."""
    command = [*on_boxes.CURL, "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", *options, url]
    asked = host.run(shlex.join(command))
    return asked.rc, asked.stdout


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_clients_that_trust_the_authority_reach_it_by_name_and_by_address(host: Host, name: str) -> None:
    assert status_of(host, f"https://{name}:4000/health/liveliness") == (0, "200")


def test_nobody_else_is_told_to_trust_it(host: Host) -> None:
    # 60 is curl's word for a certificate that no known authority has signed.
    asked = host.run("curl -s -m 20 https://localhost:4000/health/liveliness")
    assert asked.rc == 60, asked.stderr


def test_a_host_that_is_not_named_is_not_served(host: Host) -> None:
    url = "https://127.0.0.1:4000/health/liveliness"
    assert status_of(host, url, "-H", "Host: evil.test") == (0, "404")
    # There is no certificate for it.
    code, _ = status_of(host, "https://evil.test:4000/", "--connect-to", "::127.0.0.1:4000")
    assert code == 35


def test_nothing_is_answered_unencrypted(host: Host) -> None:
    assert status_of(host, "http://127.0.0.1:4000/health/liveliness") == (0, "400")


def test_the_authoritys_certificate_is_fetched_and_its_key_stays(host: Host) -> None:
    fetched = on_boxes.ROOT / "ca" / f"{host.backend.get_hostname()}.crt"
    assert fetched.read_text().strip() == host.check_output(f"cat {on_boxes.CA_FILE}")
    folder = on_boxes.CA_FILE.rsplit("/", 1)[0]
    assert host.check_output(f"stat -c '%a %u' {folder}/root.key") == "600 74020"
    assert host.check_output("stat -c '%a %u' /var/lib/llm-gateway/ingress") == "700 74020"


@pytest.mark.parametrize("path", CLOSED)
def test_what_clients_do_not_need_is_not_there_even_with_the_administrators_key(host: Host, path: str) -> None:
    status, _, answer = on_boxes.ask(host, path)
    assert status == 404, answer


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/local"])
def test_the_model_list_can_be_read(host: Host, path: str) -> None:
    status, _, answer = on_boxes.ask(host, path)
    assert status == 200, answer


def test_a_question_in_the_dialect_of_another_api_is_not_let_through(host: Host) -> None:
    status, _, answer = on_boxes.ask(host, "/models/local:generateContent", {"contents": []})
    assert (status, answer["error"]["type"]) == (404, "ingress_error")


def test_a_request_that_is_too_large_is_refused_and_harms_nobody_else(host: Host) -> None:
    ask = f"{CURL} -s -m 60 -o /dev/null -H @{on_boxes.KEY_HEADER} -H 'Content-Type: application/json'"
    large = f"{ask} -w '%{{http_code}}' --data-binary @- {on_boxes.GATEWAY}/v1/chat/completions"
    for _ in on_boxes.REPLICAS:
        assert host.check_output(f"head -c 21000000 /dev/zero | {large}") == "413"
    # It is not the replicas' fault, so that both of them still get questions.
    seconds = float(host.check_output(f"{ask} -w '%{{time_total}}' {on_boxes.GATEWAY}/v1/models"))
    assert seconds < 2


def test_a_stream_arrives_as_it_is_made(host: Host) -> None:
    body = json.dumps(on_boxes.chat("local", stream=True))
    command = (
        f"{CURL} -sS -N -m 60 -H @{on_boxes.KEY_HEADER} -H 'Content-Type: application/json' -d '{body}'"
        f" {on_boxes.GATEWAY}/v1/chat/completions | while read -r line; do date +%s.%N; done"
    )
    times = [float(line) for line in host.check_output(command).splitlines()]
    assert len(times) > 5
    # Kept back until the end, all lines would come at once.
    assert times[-1] - times[1] > 0.02


def test_metrics_are_open_to_the_networks_that_are_named(host: Host) -> None:
    gateway = host.check_output("docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' llm-gateway")
    before = on_boxes.started_at(host)
    run = on_boxes.play("site", llm_monitoring_networks=[f"{gateway}/32"])
    assert run.rc == 0, run.output
    after = on_boxes.started_at(host)
    # It reads its configuration anew, since a restart would cut the answers that go through it.
    assert before == after
    try:
        for replica in ("litellm-1", "litellm-2"):
            status, _, text = on_boxes.ask(host, f"/metrics/{replica}", headers=())
            assert (status, "litellm_proxy_total_requests_metric_total" in text) == (200, True)
        assert on_boxes.ask(host, "/metrics/litellm-3")[0] == 404
    finally:
        assert on_boxes.play("site", "--tags", "ingress").rc == 0


@pytest.fixture
def second_replica_down(host: Host) -> Iterator[str]:
    name = on_boxes.REPLICAS[1]
    yield name
    host.check_output(f"docker start {name}")
    deadline = time.monotonic() + 60
    while host.check_output(f"docker inspect -f '{{{{.State.Health.Status}}}}' {name}") != "healthy":
        assert time.monotonic() < deadline, host.run(f"docker logs --tail 20 {name}").stdout
        time.sleep(1)


def test_no_client_notices_that_a_replica_is_stopped(host: Host, second_replica_down: str) -> None:
    arguments = shlex.join(["8", on_boxes.KEY_HEADER, on_boxes.GATEWAY, *on_boxes.CURL])
    host.check_output(f"cat > /srv/ask_on.py <<'EOF'\n{ASK_ON}\nEOF")
    seen = host.check_output(
        f"(sleep 2; docker stop {second_replica_down} >/dev/null) & python3 /srv/ask_on.py {arguments}; wait"
    ).split()
    assert len(seen) > 10
    assert set(seen) == {"200"}
    assert host.check_output(f"docker inspect -f '{{{{.State.Running}}}}' {second_replica_down}") == "false"


def test_a_killed_replica_takes_only_its_own_answers_with_it(host: Host, second_replica_down: str) -> None:
    host.check_output(f"docker kill {second_replica_down}")
    statuses = [on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] for _ in range(5)]
    assert statuses == [200] * 5


def test_the_log_names_requests_without_their_keys(host: Host) -> None:
    planted = "sk-planted-for-the-log"
    for headers in ((f"Authorization: Bearer {planted}",), (f"x-api-key: {planted}",)):
        assert on_boxes.ask(host, f"/v1/models?key={planted}", headers=headers)[0] == 401
        assert on_boxes.ask(host, f"/nothing?key={planted}", headers=headers)[0] == 404
    logged = host.run("docker logs --since 1m llm-gateway-ingress")
    assert planted not in logged.stdout + logged.stderr
    requests = [json.loads(line) for line in logged.stdout.splitlines() if "handled request" in line]
    assert {(entry["request"]["uri"], entry["status"]) for entry in requests} >= {
        ("/v1/models", 401),
        ("/nothing", 404),
    }
