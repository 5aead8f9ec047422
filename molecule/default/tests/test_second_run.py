"""A run with nothing to change changes nothing, restarts nothing, and stays small; none shows a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host

MOST_TASKS = 45


def assert_no_secret_in(run: on_boxes.Run) -> None:
    planted = list(on_boxes.secrets().values())
    assert len(planted) >= 4
    assert [name for name, value in on_boxes.secrets().items() if value in run.output] == []


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
    assert_no_secret_in(run)


def test_a_changed_setting_recreates_exactly_the_container_that_reads_it(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play("site", "--diff", "-vvv", redis_maxmemory="128mb")
    assert run.rc == 0, run.output
    after = on_boxes.started_at(host)
    assert [name for name in before if before[name] != after[name]] == ["llm-gateway-redis"]
    assert_no_secret_in(run)
    assert on_boxes.play("site").rc == 0
