"""The gateway on a box: it answers, refuses strangers, falls back, and shows nothing it should not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host


def test_every_container_is_healthy_and_never_stumbled(host: Host) -> None:
    on_boxes.wait_until_healthy(host)
    restarts = host.check_output("docker inspect -f '{{.RestartCount}}' " + " ".join(on_boxes.CONTAINERS))
    assert restarts.split() == ["0"] * len(on_boxes.CONTAINERS)


def test_the_real_litellm_answers_through_ollama(host: Host) -> None:
    status, headers, answer = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0
    assert headers["x-litellm-model-id"].startswith("local/ollama/")


def test_a_stranger_gets_401_and_nothing_else(host: Host) -> None:
    for headers in ((), ("Authorization: Bearer sk-wrong",), ("x-api-key: sk-wrong",)):
        for path, body in (("/v1/models", None), ("/v1/chat/completions", on_boxes.chat("local"))):
            status, _, answer = on_boxes.ask(host, path, body, headers)
            assert status == 401, (headers, path, answer)
        status, _, answer = on_boxes.ask(
            host, "/health", None, headers, on_boxes.replica_address(host, on_boxes.REPLICAS[0])
        )
        assert status == 401, (headers, answer)


def test_a_failing_provider_falls_back_to_the_local_model(host: Host) -> None:
    status, headers, answer = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("smart"))
    assert (status, headers["x-litellm-model-id"]) == (200, "smart/openai/gpt-5.4"), answer
    on_boxes.provider_fault(host, "500")
    try:
        status, headers, answer = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("smart"))
    finally:
        on_boxes.provider_fault(host, None)
    assert status == 200, answer
    assert headers["x-litellm-attempted-fallbacks"] == "1"
    assert headers["x-litellm-model-group"] == "local"


def test_only_the_gateway_is_published_and_only_where_the_inventory_says(host: Host) -> None:
    ports = host.check_output("docker ps --format '{{.Names}}' | sort | xargs -n 1 docker port").splitlines()
    assert ports == ["8443/tcp -> 127.0.0.1:4000"]
    listening = host.check_output("ss -Htln")
    assert not re.search(r":(6379|11434)\s", listening), listening


def test_the_containers_are_hardened(host: Host) -> None:
    for container in json.loads(host.check_output("docker inspect " + " ".join(on_boxes.CONTAINERS))):
        settings = container["HostConfig"]
        name = container["Name"]
        assert settings["ReadonlyRootfs"], name
        assert settings["CapDrop"] == ["ALL"], name
        added = [capability.removeprefix("CAP_") for capability in settings["CapAdd"] or []]
        assert added == (["NET_BIND_SERVICE"] if name == "/llm-gateway-ingress" else []), name
        assert settings["SecurityOpt"] == ["no-new-privileges:true"], name
        assert settings["Memory"] > 0, name
        assert settings["PidsLimit"] > 0, name
        assert settings["LogConfig"]["Config"]["max-size"] == "10m", name
        assert not container["Config"]["User"].startswith("0"), name
        assert ("@sha256:" in container["Config"]["Image"]) != on_boxes.upstream(), name


def test_no_secret_can_be_read_by_others(host: Host) -> None:
    """Greps for the planted values: docker inspect, the process list, the logs, and files that others may read."""
    planted = list(on_boxes.secrets().values())
    assert len(planted) >= 4
    patterns = "\n".join(planted)
    host.check_output(f"install -m 0600 /dev/null /run/planted && cat > /run/planted <<'EOF'\n{patterns}\nEOF")
    try:
        inspected = host.run("docker inspect $(docker ps -aq) | grep -c -F -f /run/planted")
        assert inspected.stdout.strip() == "0"
        processes = host.run("ps axww -o args | grep -F -f /run/planted | grep -v 'grep -F'")
        assert processes.stdout == ""
        logs = host.run(
            f"for c in {' '.join(on_boxes.CONTAINERS)}; do docker logs $c 2>&1; done | grep -c -F -f /run/planted"
        )
        assert logs.stdout.strip() == "0"
        open_files = host.run(
            "grep -rlF -f /run/planted /opt /etc /home /srv /tmp /run /var/log /var/lib/llm-gateway"
            " /var/lib/docker/containers 2>/dev/null | grep -v '^/run/planted$' | xargs -r stat -c '%a %n'"
        )
        holders = [line.split(" ", 1) for line in open_files.stdout.splitlines()]
        assert len(holders) >= 4, "the grep finds the files that must hold a secret"
        assert [name for mode, name in holders if mode not in ("400", "600")] == []
    finally:
        host.check_output("rm /run/planted")


def test_redis_keeps_its_data_and_wants_its_password(host: Host) -> None:
    shared = host.check_output("docker exec llm-gateway-redis redis-cli ping")
    assert "NOAUTH" in shared
    ask = 'REDISCLI_AUTH=$(cat /run/redis-secrets/password) redis-cli config get "[am]*"'
    settings = host.check_output(f"docker exec llm-gateway-redis sh -c '{ask}'").split()
    for name, value in {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "volatile-lru"}.items():
        assert settings[settings.index(name) + 1] == value


def test_litellm_reaches_redis(host: Host) -> None:
    for replica in on_boxes.REPLICAS:
        status, _, answer = on_boxes.ask(host, "/cache/ping", address=on_boxes.replica_address(host, replica))
        assert status == 200, answer


def test_the_receipt_can_be_followed(host: Host) -> None:
    run = on_boxes.play("verify", llm_verify_paid=True)
    assert run.rc == 0, run.output
    assert re.search(r"smart +chat +gpt-5.4 at openai +\d", run.output)
    assert "first token of a stream after" in run.output
    assert re.search(r"local +chat +smollm2:135m on llm-default-box +\d+\.\d\d", run.output)
    assert re.search(r"embed +embedding +nomic-embed-text on llm-default-box +\d+\.\d\d +768 dimensions", run.output)
    command = next(line.strip() for line in run.output.splitlines() if line.strip().startswith("sudo curl"))
    answer = json.loads(host.check_output(command))
    assert answer["choices"][0]["message"]["content"]


def test_a_model_that_costs_money_is_not_asked_unless_wanted() -> None:
    run = on_boxes.play("verify")
    assert run.rc == 0, run.output
    assert re.search(r"smart +chat +not asked: it costs money", run.output)


def test_one_model_can_be_asked_alone() -> None:
    run = on_boxes.play("verify", verify_models=["smart"])
    assert run.rc == 0, run.output
    assert re.search(r"smart +chat +gpt-5.4 at openai +\d", run.output)
    assert "nomic-embed-text" not in run.output


def test_the_project_can_be_run_by_hand(host: Host) -> None:
    listed = host.check_output("cd /opt/llm-gateway/litellm && docker compose ps --format json")
    assert {json.loads(line)["Name"] for line in listed.splitlines()} == set(on_boxes.REPLICAS)
