"""A run that was killed half way and started again ends where an undisturbed run does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import on_boxes
import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

SLOW: list[dict[str, Any]] = [
    {"name": "local", "backends": [{"provider": "ollama", "model": "smollm2:135m"}]},
    {"name": "slow", "backends": [{"provider": "ollama", "model": "test/slow"}]},
]


def assert_converges(host: Host, **variables: Any) -> None:
    run = on_boxes.play("site", **variables)
    assert run.rc == 0, run.output
    on_boxes.wait_until_healthy(host)


@pytest.mark.skipif(on_boxes.upstream(), reason="the real Ollama has no model that takes its time on purpose")
def test_killed_during_a_pull(host: Host) -> None:
    on_boxes.play_until("models | Hold", llm_models=SLOW)
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] == 200
    assert_converges(host, llm_models=SLOW)
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("slow"))[0] == 200


def test_killed_while_the_containers_start(host: Host) -> None:
    # The model of the test before this one is declared no longer.
    assert_converges(host, ollama_prune=True)
    before = on_boxes.started_at(host)
    on_boxes.play_until("Start and ask, beside what answers, what changed of litellm", llm_drain_seconds=30)
    # What runs on the box would go on without the control machine; a power cut would not leave it.
    host.run("pkill -KILL -f compose_replicas")
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] == 200
    assert_converges(host)
    # The replicas that answered all the time are the ones that answer now.
    assert on_boxes.started_at(host) == before
    again = on_boxes.play("site")
    assert (again.rc, again.recap("changed")) == (0, 0), again.output
