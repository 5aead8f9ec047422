"""A replica is killed under load, and the box is restarted."""

from __future__ import annotations

import subprocess
import time

import on_boxes
import pytest
from load import STREAM, Figures, table
from on_boxes import REPLICAS
from testinfra.host import Host
from under_load import Gateway, Load, losses

WAIT_AT_MOST_SECONDS = 2.0
BACK_WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module", autouse=True)
def _asked_again(host: Host, gateway: Gateway) -> None:
    """Let the ingress repeat questions in flight; it gets more memory for that, and nothing else changes."""
    before = on_boxes.started_at(host)
    done = gateway.change("site", llm_retry_in_flight=True)
    assert done.rc == 0, done.output
    changed = [name for name, started in on_boxes.started_at(host).items() if started != before[name]]
    assert changed == ["llm-gateway-ingress"]


def test_only_streams_that_had_begun_die_with_a_replica(host: Host, clients: Load, figures: list[str]) -> None:
    clients.start("one replica is killed")
    clients.wait_for_phase()
    process = host.check_output(f"docker inspect -f '{{{{.State.Pid}}}}' {REPLICAS[0]}")
    killed = float(host.check_output(f"date +%s.%N && kill -9 {process}"))
    on_boxes.wait_until_healthy(host, *REPLICAS)
    clients.change("both replicas answer")
    clients.wait_for_phase()
    results = clients.stop()

    new = [result for result in results if result.started > killed]
    begun = [r for r in results if r.started < killed and r.kind == STREAM and r.status == 200]
    saved = [result for result in results if result not in begun]
    figures.append(table(results) + "\n")
    figures.append(f"Streams cut by the death of their replica: {Figures.of(begun).cut}.\n")
    assert not Figures.of(saved).lost, losses(saved)
    assert Figures.of(new).longest_wait <= WAIT_AT_MOST_SECONDS


def test_after_a_restart_of_the_box_all_is_back(host: Host, gateway: Gateway, figures: list[str]) -> None:
    box = host.backend.get_hostname()
    subprocess.run(["docker", "restart", "--time", "60", box], check=True, capture_output=True)
    on_boxes.wait_until(lambda: host.run("docker version").rc == 0, 60, "the engine in the box answers")
    begin = time.monotonic()
    while (done := gateway.change("verify")).rc != 0:
        assert time.monotonic() - begin < BACK_WITHIN_SECONDS, done.output
    seconds = time.monotonic() - begin
    figures.append(f"Box restarted: back and verified {seconds:.0f} s after its engine answered.\n")
    assert seconds <= BACK_WITHIN_SECONDS
