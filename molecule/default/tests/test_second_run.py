"""A run with nothing to change changes nothing, restarts nothing, and stays small."""

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


def test_check_mode_agrees(host: Host) -> None:
    before = on_boxes.snapshot(host)
    run = on_boxes.play("site", "--check", "--diff")
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert on_boxes.snapshot(host) == before


def test_a_changed_setting_recreates_exactly_the_container_that_reads_it(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play("site", redis_maxmemory="128mb")
    assert run.rc == 0, run.output
    after = on_boxes.started_at(host)
    assert [name for name in before if before[name] != after[name]] == ["llm-gateway-redis"]
    assert on_boxes.play("site").rc == 0


def test_no_secret_shows_in_the_output() -> None:
    planted = list(on_boxes.secrets().values())
    for options in (("--diff", "-vvv"), ("--check", "--diff", "-vvv")):
        run = on_boxes.play("site", *options, redis_maxmemory="200mb")
        assert run.rc == 0, run.output
        assert [value for value in planted if value in run.output] == []
    assert on_boxes.play("site").rc == 0
