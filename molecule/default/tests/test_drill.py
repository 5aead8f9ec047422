"""The drill on the running gateway: every limit holds, and everything is as it was afterwards."""

from __future__ import annotations

import json

import on_boxes
from testinfra.host import Host

RESULTS = "/var/lib/llm-gateway/drills"


def test_the_drill_is_not_started_without_a_yes(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play("drill")
    assert run.rc != 0
    assert "nobody typed yes" in run.output
    assert on_boxes.started_at(host) == before


def test_every_limit_holds_and_nothing_is_left_behind(host: Host) -> None:
    run = on_boxes.play("drill", llm_drill_confirm=True)
    assert run.rc == 0, run.output
    assert not on_boxes.shown_secrets(run)
    newest = host.check_output(f"ls -1 {RESULTS} | tail -1")
    results = json.loads(host.file(f"{RESULTS}/{newest}").content_string)
    assert len(results["cases"]) >= 9
    assert all(case["passed"] for case in results["cases"])
    on_boxes.wait_until_healthy(host)
    assert "drill" not in host.check_output("docker ps -a --format '{{.Names}}'")
    assert not host.file("/opt/llm-gateway/drill").exists
