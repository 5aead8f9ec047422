"""Services that are switched off leave containers and files behind nowhere, and their data in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host


def test_containers_and_files_are_gone(host: Host) -> None:
    assert host.check_output("docker ps -aq") == ""
    assert host.check_output("ls -A /opt/llm-gateway") == ""


def test_data_stays(host: Host) -> None:
    assert host.file("/var/lib/llm-gateway/redis/appendonlydir").exists
    # Clients go on trusting it.
    assert host.file(on_boxes.CA_FILE).exists
    assert host.check_output("find /var/lib/llm-gateway/ollama -type f | grep -c smollm2") != "0"


def test_removing_again_changes_nothing(host: Host) -> None:
    off = {f"{service}_enabled": False for service in ("redis", "ollama", "litellm", "ingress")}
    run = on_boxes.play("site", **off)
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert host.check_output("docker ps -aq") == ""


def test_everything_comes_back_with_its_models(host: Host) -> None:
    run = on_boxes.play("site")
    assert run.rc == 0, run.output
    hold = run.output.split("models | Hold", 1)[1].split("TASK [", 1)[0]
    assert "ok:" in hold
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] == 200
