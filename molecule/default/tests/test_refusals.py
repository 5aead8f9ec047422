"""What cannot work is refused with a message that helps, and the gateway that was there goes on serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import on_boxes
import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

only_the_stand_in_fails_on_command = pytest.mark.skipif(on_boxes.upstream(), reason="the real Ollama has no such model")


def models(name: str) -> list[dict[str, Any]]:
    return [
        {"name": "local", "backends": [{"provider": "ollama", "model": "smollm2:135m"}]},
        {"name": "new", "backends": [{"provider": "ollama", "model": name}]},
    ]


def assert_refused(host: Host, *texts: str, **variables: Any) -> None:
    before = on_boxes.snapshot(host)
    run = on_boxes.play("site", "--diff", **variables)
    assert run.rc != 0, run.output
    flat = " ".join(run.output.split())
    for text in texts:
        assert text in flat, run.output
    assert on_boxes.snapshot(host) == before
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] == 200


def test_a_port_that_is_taken_is_named_with_the_process_that_holds_it(host: Host) -> None:
    host.check_output("systemd-run --unit=squatter python3 -m http.server 4999 --bind 127.0.0.1")
    try:
        host.check_output("timeout 10 sh -c 'until ss -Htln | grep -q :4999; do sleep 0.1; done'")
        assert_refused(host, "127.0.0.1:4999", "python3", "llm_port", "group_vars/all/gateway.yml", llm_port=4999)
    finally:
        host.check_output("systemctl stop squatter")


def test_a_model_unknown_to_ollama_is_named(host: Host) -> None:
    assert_refused(host, "no-such-model:7b", "group_vars/all/models.yml", llm_models=models("no-such-model:7b"))


@only_the_stand_in_fails_on_command
def test_too_little_disk_for_the_models_is_counted(host: Host) -> None:
    texts = ("test/huge 838190.3 GiB", "GiB free", "group_vars/all/models.yml")
    assert_refused(host, *texts, llm_models=models("test/huge"))


@only_the_stand_in_fails_on_command
def test_a_pull_that_fails_stops_the_run_with_ollamas_own_words(host: Host) -> None:
    assert_refused(host, "test/broken", "max retries exceeded: unexpected EOF", llm_models=models("test/broken"))


def test_a_service_that_does_not_start_gives_its_log_and_the_old_one_comes_back(host: Host) -> None:
    run = on_boxes.play("site", redis_maxmemory="plenty")
    assert run.rc != 0
    flat = " ".join(run.output.split())
    assert "redis is not in place" in flat, run.output
    assert "argument must be a memory value" in flat, run.output
    assert "The files and containers from before this run are back." in flat, run.output
    assert on_boxes.shown_secrets(run) == []
    on_boxes.wait_until_healthy(host)
    assert on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))[0] == 200
    again = on_boxes.play("site")
    assert (again.rc, again.recap("changed")) == (0, 0), again.output
