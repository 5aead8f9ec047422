"""A run with nothing to change changes nothing, restarts nothing, and stays small; none shows a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host

MOST_TASKS = 45


def test_nothing_changes_and_nothing_restarts(host: Host) -> None:
    before = on_boxes.snapshot(host)
    assert len(on_boxes.started_at(host)) == len(on_boxes.CONTAINERS)
    run = on_boxes.play("site", "--diff")
    assert run.rc == 0, run.output
    assert run.recap("changed") == 0, run.output
    assert run.recap("ok") <= MOST_TASKS
    assert on_boxes.snapshot(host) == before


def test_check_mode_shows_a_change_and_makes_none(host: Host) -> None:
    before = on_boxes.snapshot(host)
    run = on_boxes.play("site", "--check", "--diff", "-vvv", redis_maxmemory="128mb")
    assert (run.rc, run.recap("changed")) == (0, 1), run.output
    assert "+maxmemory 128mb" in run.output
    assert on_boxes.snapshot(host) == before
    assert on_boxes.shown_secrets(run) == []


def test_a_changed_setting_recreates_exactly_the_container_that_reads_it(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play("site", "--diff", "-vvv", redis_maxmemory="128mb")
    assert run.rc == 0, run.output
    after = on_boxes.started_at(host)
    assert [name for name in before if before[name] != after[name]] == ["llm-gateway-redis"]
    assert on_boxes.shown_secrets(run) == []
    assert on_boxes.play("site", "--tags", "redis").rc == 0


def test_a_changed_secret_reaches_its_readers_and_no_output(host: Host) -> None:
    before = on_boxes.started_at(host)
    new = "".join(reversed(on_boxes.secrets()["vault_redis_password"]))
    run = on_boxes.play("site", "--diff", "-vvv", vault_redis_password=new)
    assert run.rc == 0, run.output
    assert on_boxes.shown_secrets(run, new) == []
    after = on_boxes.started_at(host)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {*on_boxes.REPLICAS, "llm-gateway-redis"}
    assert on_boxes.play("site", "--tags", "redis,litellm").rc == 0


def test_check_mode_works_where_docker_is_stopped(host: Host) -> None:
    host.check_output("systemctl stop docker.socket docker.service")
    try:
        run = on_boxes.play("site", "--check")
        assert run.rc == 0, run.output
        assert "Docker is installed but stopped; this run starts it" in " ".join(run.output.split())
    finally:
        host.check_output("systemctl start docker.socket docker.service")
    run = on_boxes.play("site")
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
